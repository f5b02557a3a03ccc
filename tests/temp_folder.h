/* A folder of its own for a test: cmocka fixtures that make it and remove it, and small file
 * helpers. */
#ifndef HM_TESTS_TEMP_FOLDER_H
#define HM_TESTS_TEMP_FOLDER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char temp_folder[256];

/* The path of a file in the folder; one of 16 buffers in turn. */
static inline const char *temp_path(const char *name)
{
    static char path[16][512];
    static unsigned turn;
    char *p = path[turn++ % 16];
    snprintf(p, 512, "%s/%s", temp_folder, name);
    return p;
}

static inline const char *temp_write(const char *name, const void *bytes, size_t n)
{
    const char *path = temp_path(name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n || close(fd) != 0)
        fail_msg("cannot write %s", path);
    return path;
}

static inline const char *temp_text(const char *name, const char *text)
{
    return temp_write(name, text, strlen(text));
}

/* The bytes of a file, to be freed. */
static inline uint8_t *temp_read(const char *path, size_t *n)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        fail_msg("cannot read %s", path);
    uint8_t *bytes = malloc((size_t)st.st_size + 1);
    if (!bytes || read(fd, bytes, (size_t)st.st_size) != st.st_size)
        fail_msg("cannot read %s", path);
    close(fd);
    *n = (size_t)st.st_size;
    return bytes;
}

/* How many names in the folder contain the text. */
static inline int temp_count(const char *text)
{
    int n = 0;
    DIR *dir = opendir(temp_folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        n += strstr(entry->d_name, text) != NULL && entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

static inline int temp_remove_one(const char *path, const struct stat *st, int type,
                                  struct FTW *walk)
{
    (void)st;
    (void)walk;
    if (type == FTW_DP)
        return rmdir(path);
    return unlink(path);
}

static inline int temp_setup(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(temp_folder, sizeof temp_folder, "%s/hogmesh-test-XXXXXX",
             base && *base ? base : "/tmp");
    return mkdtemp(temp_folder) ? 0 : -1;
}

static inline int temp_teardown(void **state)
{
    (void)state;
    chmod(temp_folder, 0755);
    return nftw(temp_folder, temp_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
