/* --config FILE: training options by name, as lines "NAME = VALUE" (# begins a remark) or as one
 * JSON object. */
#ifndef HM_TOOLS_CONFIG_FILE_H
#define HM_TOOLS_CONFIG_FILE_H

enum { CONFIG_ENTRIES_MAX = 64, CONFIG_NAME_MAX = 31, CONFIG_VALUE_MAX = 1023 };

struct config_entry {
    char name[CONFIG_NAME_MAX + 1];
    char value[CONFIG_VALUE_MAX + 1];
    unsigned line; /* from 1; 0: of a JSON object, whose lines are not known */
};

/* Reads a file: *n entries, each name once, which stay until the next call. Returns EXIT_DONE,
 * or EXIT_FAILED after a message on stderr that names file and line. */
int config_read(const char *path, struct config_entry **entry, unsigned *n);

/* Says on stderr that an entry is not to be had, with file, line, name and value, and why. Returns
 * EXIT_USAGE. */
int config_refuse(const char *path, const struct config_entry *entry, const char *why, ...)
    __attribute__((format(printf, 3, 4)));

#endif
