/* What texts that travel between nodes may hold. They end up in terminals, logs and JSON, so bytes
 * that could move a cursor or break a line never get past the decoder. All functions are pure and
 * thread-safe. */
#ifndef HM_PROTOCOL_TEXT_H
#define HM_PROTOCOL_TEXT_H

#include <stddef.h>

/* A rule: nonzero when text[n] is fine. */
typedef int hm_text_rule(const char *text, size_t n);

/* Well-formed UTF-8 without control characters (C0, DEL, C1); may be empty. */
int hm_text_ok(const char *text, size_t n);

/* A node's label: printable ASCII without spaces, quotes and backquotes; not empty. */
int hm_label_ok(const char *text, size_t n);

/* Empty, or tcp://, ipc:// or inproc:// and at least one character more, printable ASCII without
 * spaces. */
int hm_endpoint_ok(const char *text, size_t n);

/* The name of a configuration field: [a-z0-9_]+. */
int hm_field_name_ok(const char *text, size_t n);

/* Copies text into out[room], room >= 1, as far as it fits, so that hm_text_ok holds: bytes that
 * may not travel become '?', and no character is cut in half. */
void hm_text_clean(char *out, size_t room, const char *text);

#endif
