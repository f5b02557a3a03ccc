/* What must hold of any bytes that are given to the reader of fault plans; shared by the fuzz entry
 * and the test that replays its corpus. */
#ifndef HM_TESTS_FAULTS_CHECK_H
#define HM_TESTS_FAULTS_CHECK_H

#include "node/faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAULTS_CHECK_NODES = 5 };

static char faults_check_repeat[64]; /* the command that repeats this check; empty: none */

static inline void faults_check_fail(const char *what, const char *text)
{
    fprintf(stderr, "%s\n%s\n%s\n", what, text, faults_check_repeat);
    abort();
}

/* A plan that is accepted is written as one that is accepted and written alike; its events are in
 * order, its links can be asked at any time and keep their word on how long they stay so. */
static inline void faults_check_good(const struct hm_faults *faults)
{
    struct hm_faults again;
    struct hm_err err = {""};
    char *text = hm_faults_write(faults);
    if (!text)
        faults_check_fail("not written", "");
    if (strlen(text) <= HM_FAULTS_BYTES_MAX) {
        if (hm_faults_parse(&again, text, strlen(text), "again", NULL, faults->n_nodes, &err))
            faults_check_fail(err.text, text);
        char *twice = hm_faults_write(&again);
        if (!twice || strcmp(text, twice) != 0 || again.n_events != faults->n_events)
            faults_check_fail("written differently", text);
        hm_faults_close(&again);
        free(twice);
    }
    free(text);
    for (size_t i = 1; i < faults->n_events; i++)
        if (faults->event[i].at_us < faults->event[i - 1].at_us)
            faults_check_fail("out of order", "");
    for (uint64_t now = 0, turns = 0; turns < 100 && now != HM_FAULTS_FOREVER; turns++) {
        struct hm_link_now link = hm_faults_link(faults, 0, 1, now);
        if (link.until_us <= now)
            faults_check_fail("no time goes by", "");
        struct hm_link_now last = hm_faults_link(faults, 0, 1, link.until_us - 1);
        if (last.cut != link.cut || last.drop != link.drop || last.latency != link.latency ||
            last.bandwidth != link.bandwidth || last.until_us != link.until_us)
            faults_check_fail("changed before its time", "");
        now = link.until_us;
    }
    for (uint32_t i = 0; i < FAULTS_CHECK_NODES; i++)
        hm_faults_pace(faults, i);
}

/* Returns whether the plan was accepted. */
static inline int faults_check(const uint8_t *data, size_t size)
{
    struct hm_faults faults;
    struct hm_err err = {""};
    enum hm_status status = hm_faults_parse(&faults, (const char *)data, size, "plan.json", NULL,
                                            FAULTS_CHECK_NODES, &err);
    if (status && strncmp(err.text, "plan.json:", 10) != 0)
        faults_check_fail("an error without a place", err.text);
    if (!status)
        faults_check_good(&faults);
    hm_faults_close(&faults);
    return !status;
}

#endif
