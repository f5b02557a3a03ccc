/* hogmesh doctor: what is wrong with this host, its network and its peers, and what to do. */
#include "tools/doctor.h"

#include <stdarg.h>
#include <unistd.h>

static const double WAIT_SECONDS = 15;

static const char *const level_name[FINDINGS] = {"fine", "note", "warning", "broken"};

static void print(const char *level, const char *about, const char *text, const char *advice)
{
    printf("%-8s %s: %s\n", level, about, text);
    if (advice)
        printf("         -> %s\n", advice);
    fflush(stdout);
}

void doctor_say(struct doctor *doctor, enum finding level, const char *about, const char *advice,
                const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    /* What comes from elsewhere goes to a terminal. */
    for (char *c = text; *c; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c >= 0x7f)
            *c = '?';
    doctor->n[level]++;
    json_array_append_new(doctor->findings,
                          json_pack("{s:s, s:s, s:s, s:s?}", "level", level_name[level], "about",
                                    about, "text", text, "advice", advice));
    if (!doctor->quiet)
        print(level_name[level], about, text, advice);
}

static void conclude(const struct doctor *doctor)
{
    if (doctor->quiet) {
        json_t *json = json_pack("{s:i, s:i, s:i, s:O}", "broken", (int)doctor->n[BROKEN],
                                 "warnings", (int)doctor->n[WARNING], "notes", (int)doctor->n[NOTE],
                                 "findings", doctor->findings);
        json_dumpf(json, stdout, JSON_COMPACT);
        putchar('\n');
        json_decref(json);
    } else
        printf("\n%u broken, %u warnings, %u notes, %u fine\n", doctor->n[BROKEN],
               doctor->n[WARNING], doctor->n[NOTE], doctor->n[FINE]);
}

int cmd_doctor(struct cli *cli)
{
    struct doctor doctor = {.cli = cli,
                            .quiet = cli->json,
                            .findings = json_array(),
                            .wait = cli->wait > 0                         ? cli->wait
                                    : cli->node.bind && cli->node.n_peers ? WAIT_SECONDS
                                                                          : 0};
    doctor_host(&doctor);
    if (cli->node.bind)
        doctor_listen(&doctor);
    for (unsigned i = 0; i < cli->node.n_peers; i++)
        doctor_tell(&doctor, cli->node.peer[i], "not tried yet");
    for (unsigned i = 0; i < cli->node.n_peers; i++)
        doctor_peer(&doctor, cli->node.peer[i]);
    if (doctor.listener && cli->node.n_peers) /* the other side may still want to know */
        sleep(2);
    doctor_hang_up(&doctor);
    conclude(&doctor);
    json_decref(doctor.findings);
    return doctor.n[BROKEN] ? EXIT_FAILED : EXIT_DONE;
}
