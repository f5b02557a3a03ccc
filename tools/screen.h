/* Talk and progress on stderr: lines that overwrite themselves on a terminal, now and then a plain
 * line elsewhere. */
#ifndef HM_TOOLS_SCREEN_H
#define HM_TOOLS_SCREEN_H

#include "sparse/progress.h"

#include <stdio.h>

enum { SCREEN_LINES_MAX = 256 };

struct screen {
    int quiet, terminal;
    unsigned lines;                           /* that the next frame overwrites */
    unsigned short columns[SCREEN_LINES_MAX]; /* [lines] of each */
    double last, began;                       /* seconds of the monotonic clock */
    char what[128];                           /* of the running progress */
};

struct screen screen_open(int quiet);

double screen_now(void);

/* Whether a frame is due: ten a second on a terminal, one every two seconds elsewhere. */
int screen_due(struct screen *screen);

/* The size of the terminal now: at least 20 columns and 4 lines are assumed; 80 and 24 when it does
 * not say. */
void screen_size(unsigned *columns, unsigned *lines);

/* Prints a frame (lines, each ended by a newline) in place of the last one. A terminal gets of each
 * line and of the lines what it has room for. */
void screen_frame(struct screen *screen, const char *text);

/* A line that stays. */
void screen_say(struct screen *screen, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A line of what `context`, a struct screen, should know: for hm_model_ops.remark. */
void screen_remark(void *context, const char *text);

/* For struct hm_progress: context is a struct screen. Shows work that takes longer than two seconds
 * (half a second on a terminal), with rate and time left. */
int screen_progress(void *screen, const char *what, double done, double total, const char *unit);

/* "850 k", "12.3 M" */
void screen_amount(char out[16], double x);

#endif
