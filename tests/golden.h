/* Golden bytes: what the code makes equals tests/golden/wire/NAME.hex and stands in
 * protocol/WIRE.md.
 *
 * HOGMESH_SOURCE is the source folder; without it these tests are skipped. HOGMESH_GOLDEN=write
 * writes the .hex files anew, for a deliberate change of the format. In both files ";" opens a
 * comment up to the end of the line.
 */
#ifndef HM_TESTS_GOLDEN_H
#define HM_TESTS_GOLDEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GOLDEN_BYTES_MAX = 1 << 20 };

/* The text of a file under HOGMESH_SOURCE in lower case, without white space and comments; to be
 * freed. */
static inline char *golden_squeezed(const char *path)
{
    char name[4096];
    snprintf(name, sizeof name, "%s/%s", getenv("HOGMESH_SOURCE"), path);
    FILE *file = fopen(name, "r");
    if (!file)
        fail_msg("cannot read %s", name);
    char *text = malloc(GOLDEN_BYTES_MAX + 1);
    assert_non_null(text);
    size_t n = 0;
    int in_comment = 0;
    for (int c; (c = getc(file)) != EOF && n < GOLDEN_BYTES_MAX;) {
        in_comment = c == '\n' ? 0 : in_comment || c == ';';
        if (!in_comment && !isspace(c))
            text[n++] = (char)tolower(c);
    }
    text[n] = 0;
    fclose(file);
    return text;
}

static inline void golden_write(const char *path, const char *hex)
{
    char name[4096];
    snprintf(name, sizeof name, "%s/%s", getenv("HOGMESH_SOURCE"), path);
    FILE *file = fopen(name, "w");
    if (!file)
        fail_msg("cannot write %s", name);
    for (size_t i = 0; hex[i]; i += 2)
        fprintf(file, "%.2s%s", hex + i, i % 32 == 30 || !hex[i + 2] ? "\n" : " ");
    fclose(file);
}

static inline void golden_skip_without_source(void)
{
    if (getenv("HOGMESH_SOURCE"))
        return;
    print_message("golden bytes: skipped, HOGMESH_SOURCE does not name the source folder\n");
    skip();
}

/* protocol/WIRE.md contains the text (lower case, without white space). */
static inline void golden_mentions(const char *text)
{
    golden_skip_without_source();
    char *wire_md = golden_squeezed("protocol/WIRE.md");
    if (!strstr(wire_md, text))
        fail_msg("protocol/WIRE.md does not show %s", text);
    free(wire_md);
}

static inline void golden_check(const char *name, const uint8_t *bytes, size_t n)
{
    golden_skip_without_source();
    char path[128], *hex = malloc(2 * n + 1);
    assert_non_null(hex);
    hex[0] = 0;
    for (size_t i = 0; i < n; i++)
        sprintf(hex + 2 * i, "%02x", bytes[i]);
    snprintf(path, sizeof path, "tests/golden/wire/%s.hex", name);
    const char *mode = getenv("HOGMESH_GOLDEN");
    if (mode && strcmp(mode, "write") == 0) {
        golden_write(path, hex);
    } else {
        char *golden = golden_squeezed(path);
        assert_string_equal(hex, golden);
        golden_mentions(hex);
        free(golden);
    }
    free(hex);
}

#endif
