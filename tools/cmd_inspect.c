/* hogmesh inspect: what is in a file of ours, as JSON. What a file is shows by its first bytes,
 * never by its name; only the two halves of a golden message, NAME-header.hex and NAME-payload.hex,
 * find each other by name. */
#include "tools/cli.h"
#include "tools/inspect.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char model_magic[] = "hogmesh model ", checkpoint_magic[] = "hogmesh checkpoint ",
                  cache_magic[] = "hmrows\r\n", images_magic[] = "hmimgs\r\n",
                  text_magic[] = "hmtext\r\n", capture_magic[] = "hogmesh capture 1\n";

enum {
    SNIFF_BYTES = 32,
    RAW_BYTES_MAX = HM_HEADER_MAX + HM_PAYLOAD_MAX,
    TEXT_BYTES_MAX = 4 * RAW_BYTES_MAX
};

struct bytes {
    uint8_t *at;
    size_t n;
};

/* One line on stdout. */
static void print(const char *path, json_t *json, const char *error)
{
    json_t *line = json_object(), *name = json_string(path);
    json_object_set_new(line, "file", name ? name : json_null()); /* no name that is not UTF-8 */
    json_object_update(line, json);
    if (error)
        json_object_set_new(line, "error", json_string(error));
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(line);
    json_decref(json);
}

/* ---- captures ---- */

static uint32_t u32_of(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

/* Reads the next message into header [HM_HEADER_MAX] and payload [HM_PAYLOAD_MAX]. *end is set at
 * the end of the file. */
static enum hm_status next_message(FILE *file, struct bytes *header, struct bytes *payload,
                                   int *end, struct hm_err *err)
{
    uint8_t lengths[8];
    size_t got = fread(lengths, 1, sizeof lengths, file);
    *end = got == 0;
    if (*end)
        return HM_OK;
    header->n = u32_of(lengths);
    payload->n = u32_of(lengths + 4);
    if (got < sizeof lengths)
        return hm_fail(err, HM_ECORRUPT, "the capture is truncated");
    if (header->n > HM_HEADER_MAX || payload->n > HM_PAYLOAD_MAX)
        return hm_fail(err, HM_ECORRUPT,
                       "a header of %zu and a payload of %zu bytes; at most %d and %d are allowed",
                       header->n, payload->n, HM_HEADER_MAX, HM_PAYLOAD_MAX);
    if (fread(header->at, 1, header->n, file) != header->n ||
        fread(payload->at, 1, payload->n, file) != payload->n)
        return hm_fail(err, HM_ECORRUPT, "the capture is truncated");
    return HM_OK;
}

/* A message that does not decode is one line with the error; the next one begins where its length
 * says. */
static enum hm_status read_messages(const char *path, FILE *file, struct bytes *header,
                                    struct bytes *payload, struct hm_err *first)
{
    enum hm_status worst = HM_OK;
    for (int number = 1, end = 0; !end; number++) {
        struct hm_err err = {""};
        json_t *json = NULL;
        enum hm_status framing = next_message(file, header, payload, &end, &err);
        enum hm_status status = framing || end ? framing
                                               : inspect_message(header->at, header->n, payload->at,
                                                                 payload->n, &json, &err);
        if (status)
            hm_context(&err, status, "message %d", number);
        if (status && !worst) {
            worst = status;
            *first = err;
        }
        if (framing)
            break;
        if (end)
            continue;
        json = json ? json : json_pack("{s:s}", "kind", "message");
        json_object_set_new(json, "number", json_integer(number));
        print(path, json, status ? err.text : NULL);
    }
    return worst;
}

static enum hm_status inspect_capture(const char *path, struct hm_err *err)
{
    struct bytes header = {malloc(HM_HEADER_MAX), 0}, payload = {malloc(HM_PAYLOAD_MAX), 0};
    FILE *file = fopen(path, "rb");
    enum hm_status status;
    if (!header.at || !payload.at)
        status = hm_fail(err, HM_ENOMEM, "no memory for a message");
    else if (!file || fseeko(file, sizeof capture_magic - 1, SEEK_SET) != 0)
        status = hm_fail(err, HM_EIO, "cannot read: %s", strerror(errno));
    else
        status = read_messages(path, file, &header, &payload, err);
    if (file)
        fclose(file);
    free(header.at);
    free(payload.at);
    return status;
}

/* ---- one message, as bytes or as hexadecimal text ---- */

/* At most n_max bytes of the file, to be freed; at NULL with err filled on failure. */
static struct bytes read_some(const char *path, size_t n_max, struct hm_err *err)
{
    struct bytes bytes = {malloc(n_max), 0};
    FILE *file = fopen(path, "rb");
    int failed = !bytes.at || !file;
    if (!failed) {
        bytes.n = fread(bytes.at, 1, n_max, file);
        failed = ferror(file);
    }
    if (failed) {
        hm_fail(err, HM_EIO, "cannot read: %s", strerror(errno));
        free(bytes.at);
        bytes.at = NULL;
    }
    if (file)
        fclose(file);
    return bytes;
}

static int digit_of(uint8_t c)
{
    return isdigit(c) ? c - '0' : isxdigit(c) ? tolower(c) - 'a' + 10 : -1;
}

/* Hexadecimal digits with white space and ";" comments become what they say, in place. 0 when the
 * text is something else. */
static int unhex(struct bytes *bytes)
{
    size_t n = 0;
    int in_comment = 0;
    for (size_t i = 0; i < bytes->n; i++) {
        uint8_t c = bytes->at[i];
        in_comment = c == '\n' ? 0 : in_comment || c == ';';
        if (in_comment || isspace(c))
            continue;
        int digit = digit_of(c);
        if (digit < 0)
            return 0;
        if (n % 2)
            bytes->at[n / 2] = (uint8_t)(bytes->at[n / 2] | digit);
        else
            bytes->at[n / 2] = (uint8_t)(digit << 4); /* n / 2 <= i: it was read already */
        n++;
    }
    bytes->n = n / 2;
    return n > 0 && n % 2 == 0;
}

static struct bytes read_hex(const char *path, struct hm_err *err)
{
    struct bytes bytes = read_some(path, TEXT_BYTES_MAX, err);
    if (bytes.at && !unhex(&bytes)) {
        free(bytes.at);
        bytes.at = NULL;
    }
    return bytes;
}

/* Bytes of the header at the start: MessagePack says where it ends, so one length at most decodes.
 * 0: there is none. */
static size_t header_length(const struct bytes *bytes)
{
    struct hm_header header;
    size_t most = bytes->n < HM_HEADER_MAX ? bytes->n : HM_HEADER_MAX;
    for (size_t n = 5; n <= most; n++)
        if (hm_wire_decode(bytes->at, n, &header) == HM_WIRE_OK)
            return n;
    return 0;
}

static enum hm_status unknown(struct hm_err *err)
{
    return hm_fail(err, HM_EINPUT,
                   "not a file of hogmesh; a model (model.hm), a dataset's cache (.hmcache), a "
                   "capture, or the bytes or hexadecimal "
                   "text of one message, header first, is expected");
}

/* The other half of a golden message: its path in other[room], 1 when there is such a file. */
static int find_half(const char *path, const char *this_end, const char *other_end, char *other,
                     size_t room)
{
    struct stat st;
    size_t n = strlen(path), n_end = strlen(this_end);
    if (n < n_end || strcmp(path + n - n_end, this_end) != 0)
        return 0;
    int made = snprintf(other, room, "%.*s%s", (int)(n - n_end), path, other_end);
    return made > 0 && (size_t)made < room && stat(other, &st) == 0 && S_ISREG(st.st_mode);
}

static enum hm_status inspect_halves(const struct bytes *header, const char *payload_path,
                                     json_t **json, struct hm_err *err)
{
    struct bytes payload = read_hex(payload_path, err);
    if (!payload.at)
        return hm_fail(err, HM_EINPUT, "%s: hexadecimal text is expected", payload_path);
    enum hm_status status =
        inspect_message(header->at, header->n, payload.at, payload.n, json, err);
    free(payload.at);
    return status;
}

static enum hm_status inspect_bytes(const struct bytes *bytes, int is_text, json_t **json,
                                    struct hm_err *err)
{
    size_t n = header_length(bytes);
    if (n)
        return inspect_message(bytes->at, n, bytes->n > n ? bytes->at + n : NULL, bytes->n - n,
                               json, err);
    /* A packed body has no mark that tells it from noise: it is tried only where somebody wrote
     * hexadecimal text. */
    if (is_text && inspect_packed(bytes->at, bytes->n, json, err) == HM_OK)
        return HM_OK;
    return unknown(err);
}

static enum hm_status inspect_hex(const char *path, struct bytes *text, json_t **json,
                                  struct hm_err *err)
{
    char other[4096];
    if (find_half(path, "-header.hex", "-payload.hex", other, sizeof other))
        return inspect_halves(text, other, json, err);
    if (!find_half(path, "-payload.hex", "-header.hex", other, sizeof other))
        return inspect_bytes(text, 1, json, err);
    struct bytes header = read_hex(other, err);
    if (!header.at)
        return hm_fail(err, HM_EINPUT, "%s: hexadecimal text is expected", other);
    enum hm_status status = inspect_message(header.at, header.n, text->at, text->n, json, err);
    free(header.at);
    return status;
}

static enum hm_status inspect_raw(const char *path, json_t **json, struct hm_err *err)
{
    struct bytes bytes = read_some(path, TEXT_BYTES_MAX, err);
    if (!bytes.at)
        return HM_EIO;
    enum hm_status status = HM_EINPUT;
    if (bytes.n <= RAW_BYTES_MAX && bytes.n && bytes.at[0] >= 0x80)
        status = inspect_bytes(&bytes, 0, json, err);
    else if (unhex(&bytes))
        status = inspect_hex(path, &bytes, json, err);
    else
        unknown(err);
    free(bytes.at);
    return status;
}

/* ---- what a file is ---- */

static enum hm_status sniff(const char *path, char first[SNIFF_BYTES + 1], struct hm_err *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return hm_fail(err, HM_EINPUT,
                       S_ISDIR(st.st_mode)
                           ? "a folder; a file, such as model.hm within it, is expected"
                           : "not a regular file");
    FILE *file = fopen(path, "rb");
    if (!file)
        return hm_fail(err, HM_EIO, "cannot read: %s", strerror(errno));
    first[fread(first, 1, SNIFF_BYTES, file)] = 0;
    fclose(file);
    return first[0] ? HM_OK : unknown(err);
}

static int starts_with(const char *first, const char *magic)
{
    return strncmp(first, magic, strlen(magic)) == 0;
}

static enum hm_status inspect(const char *path, struct hm_err *err)
{
    char first[SNIFF_BYTES + 1];
    json_t *json = NULL;
    enum hm_status status = sniff(path, first, err);
    if (status)
        return hm_context(err, status, "%s", path);
    int names_itself =
        starts_with(first, model_magic); /* hm_model_file_open puts the path into its errors */
    if (names_itself)
        status = inspect_model(path, &json, err);
    else if (starts_with(first, checkpoint_magic))
        status = inspect_checkpoint(path, &json, err);
    else if (starts_with(first, capture_magic))
        status = inspect_capture(path, err);
    else if (starts_with(first, cache_magic))
        status = inspect_cache(path, &json, err);
    else if (starts_with(first, images_magic))
        status = inspect_images(path, &json, err);
    else if (starts_with(first, text_magic))
        status = inspect_corpus(path, &json, err);
    else
        status = inspect_raw(path, &json, err);
    if (json)
        print(path, json, status ? err->text : NULL);
    return status && !names_itself ? hm_context(err, status, "%s", path) : status;
}

int cmd_inspect(struct cli *cli)
{
    int failed = 0, at = 0;
    if (!cli->n_arguments) {
        fprintf(stderr, "hogmesh inspect: a FILE is missing; see 'hogmesh inspect --help'\n");
        return EXIT_USAGE;
    }
    /* The arguments are the tail of the command line, and all of them; cli->argument has room for a
     * few. */
    while (cli->argv[at] != cli->argument[0])
        at++;
    for (; at < cli->argc; at++) {
        struct hm_err err = {""};
        if (!inspect(cli->argv[at], &err))
            continue;
        fprintf(stderr, "hogmesh inspect: %s\n", err.text);
        failed = 1;
    }
    return failed || fflush(stdout) != 0 ? EXIT_FAILED : EXIT_DONE;
}
