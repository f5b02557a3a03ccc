#include "tools/hosts.h"

#include "protocol/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SSH_WORDS_MAX = 32 };

static const char blank[] = " \t\r\n";

/* Two nodes of one machine have names of their own. */
static enum hm_status name(struct hosts *hosts, struct host *host, struct hm_err *err)
{
    const char *at = strrchr(host->target, '@'), *base = at ? at + 1 : host->target;
    unsigned n = 1;
    for (const struct host *other = hosts->host; other < host; other++) {
        const char *theirs = strrchr(other->target, '@');
        n += strcmp(theirs ? theirs + 1 : other->target, base) == 0;
    }
    if (n > 1)
        snprintf(host->label, sizeof host->label, "%.*s-%u", HM_LABEL_MAX - 4, base, n % 100);
    else
        snprintf(host->label, sizeof host->label, "%.*s", HM_LABEL_MAX, base);
    return hm_label_ok(host->label, strlen(host->label)) && host->target[0] != '-'
               ? HM_OK
               : hm_fail(err, HM_EINPUT, "'%.60s' is no host; expected [USER@]HOST", host->target);
}

static enum hm_status read_line(struct hosts *hosts, char *line, struct hm_err *err)
{
    char *rest, *word = strtok_r(line, blank, &rest), endpoint[HM_ENDPOINT_MAX + 1];
    if (!word || word[0] == '#')
        return HM_OK;
    if (hosts->n == HM_NODES_MAX)
        return hm_fail(err, HM_EINPUT, "more than %d hosts", HM_NODES_MAX);
    struct host *host = &hosts->host[hosts->n];
    if ((size_t)snprintf(host->target, sizeof host->target, "%s", word) >= sizeof host->target)
        return hm_fail(err, HM_EINPUT, "the name of the host is too long");
    enum hm_status status = name(hosts, host, err);
    if (status)
        return status;
    word = strtok_r(NULL, blank, &rest);
    const char *at = strrchr(host->target, '@');
    int given = word && word[0] != '-' && word[0] != '#';
    if (given)
        snprintf(host->address, sizeof host->address, "%s", word);
    else
        snprintf(host->address, sizeof host->address, "%.100s:%d", at ? at + 1 : host->target,
                 HOST_PORT);
    if ((status = hm_endpoint_parse(host->address, endpoint, err)))
        return status;
    for (word = given ? strtok_r(NULL, blank, &rest) : word; word && word[0] != '#';
         word = strtok_r(NULL, blank, &rest)) {
        if (host->n_flags == HOST_FLAGS_MAX)
            return hm_fail(err, HM_EINPUT, "more than %d words of flags", HOST_FLAGS_MAX);
        host->flag[host->n_flags++] = strdup(word);
    }
    hosts->n++;
    return HM_OK;
}

enum hm_status hosts_read(struct hosts *hosts, const char *path, struct hm_err *err)
{
    char line[4096];
    enum hm_status status = HM_OK;
    unsigned n = 0;
    FILE *file = fopen(path, "re");
    if (!file)
        return hm_fail(err, HM_EUSAGE, "--hosts %s: %s", path, strerror(errno));
    while (!status && fgets(line, sizeof line, file)) {
        n++;
        status = strlen(line) == sizeof line - 1
                     ? hm_fail(err, HM_EINPUT, "longer than %zu bytes", sizeof line - 2)
                     : read_line(hosts, line, err);
    }
    if (!status && ferror(file))
        status = hm_fail(err, HM_EIO, "%s", strerror(errno));
    fclose(file);
    if (status)
        return hm_context(err, HM_EUSAGE, "--hosts %s: line %u", path, n);
    if (!hosts->n)
        return hm_fail(err, HM_EUSAGE,
                       "--hosts %s: no host in it; expected lines [USER@]HOST [HOST:PORT] [flags]",
                       path);
    return HM_OK;
}

/* A word for a POSIX shell. */
static void quote(FILE *out, const char *word)
{
    fputc('\'', out);
    for (; *word; word++)
        if (*word == '\'')
            fputs("'\\''", out);
        else
            fputc(*word, out);
    fputc('\'', out);
}

/* The node in the background, beside somebody who reads on. */
static char *script(const char *program, char **argv)
{
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    if (!out)
        return NULL;
    fputs("exec 3<&0; ", out);
    quote(out, program);
    for (char **a = argv + 1; *a; a++) {
        fputc(' ', out);
        quote(out, *a);
    }
    fputs(" </dev/null 3<&- & p=$!; "
          "{ while read -r l; do kill -INT $p; done; kill -TERM $p; sleep 10; kill -KILL $p; } <&3 "
          ">/dev/null 2>&1 & r=$!; "
          "exec 3<&-; wait $p; s=$?; kill $r 2>/dev/null; exit $s",
          out);
    return fclose(out) == 0 ? text : NULL;
}

/* Whatever the login shell there is. */
static char *command(const char *program, char **argv)
{
    char *inner = script(program, argv), *text = NULL;
    size_t n;
    FILE *out = inner ? open_memstream(&text, &n) : NULL;
    if (!out)
        return NULL;
    fputs("sh -c ", out);
    quote(out, inner);
    free(inner);
    return fclose(out) == 0 ? text : NULL;
}

void host_become(const struct host *host, const char *ssh, const char *program, char **argv)
{
    char *word[SSH_WORDS_MAX + 3], *words = strdup(ssh), *rest, *text = command(program, argv);
    int n = 0;
    if (!words || !text)
        _exit(127);
    for (char *w = strtok_r(words, blank, &rest); w && n < SSH_WORDS_MAX;
         w = strtok_r(NULL, blank, &rest))
        word[n++] = w;
    word[n++] = (char *)(uintptr_t)host->target;
    word[n++] = text;
    word[n] = NULL;
    execvp(word[0], word);
    fprintf(stderr, "hogmesh: %s: %s; --ssh or HOGMESH_SSH names another command\n", word[0],
            strerror(errno));
    _exit(127);
}
