#include "tools/screen.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double screen_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct screen screen_open(int quiet)
{
    return (struct screen){.quiet = quiet, .terminal = isatty(STDERR_FILENO), .last = screen_now()};
}

int screen_due(struct screen *screen)
{
    double now = screen_now();
    if (screen->quiet || now - screen->last < (screen->terminal ? .1 : 2))
        return 0;
    screen->last = now;
    return 1;
}

static void wipe(struct screen *screen)
{
    if (screen->terminal && screen->lines)
        fprintf(stderr, "\033[%dA\033[J", screen->lines);
    screen->lines = 0;
}

void screen_frame(struct screen *screen, const char *text)
{
    if (screen->quiet)
        return;
    wipe(screen);
    fputs(text, stderr);
    for (const char *c = text; screen->terminal && *c; c++)
        screen->lines += *c == '\n';
    fflush(stderr);
}

void screen_say(struct screen *screen, const char *format, ...)
{
    wipe(screen);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

void screen_remark(void *context, const char *text)
{
    screen_say(context, "hogmesh: %s", text);
}

void screen_amount(char out[16], double x)
{
    static const char *const unit[] = {"", " k", " M", " G", " T"};
    unsigned u = 0;
    for (; x >= 1000 && u < 4; u++)
        x /= 1000;
    snprintf(out, 16, x < 10 && u ? "%.2f%s" : x < 100 && u ? "%.1f%s" : "%.0f%s", x, unit[u]);
}

int screen_progress(void *context, const char *what, double done, double total, const char *unit)
{
    struct screen *screen = context;
    double now = screen_now();
    if (strncmp(screen->what, what, sizeof screen->what - 1) != 0) {
        snprintf(screen->what, sizeof screen->what, "%s", what);
        screen->began = screen->last = now;
    }
    double elapsed = now - screen->began;
    if (elapsed < (screen->terminal ? .5 : 2) || !screen_due(screen))
        return 0;
    char line[256], amount[16], rate[16], left[48] = "";
    screen_amount(amount, done);
    screen_amount(rate, done / elapsed);
    if (total > 0 && done > 0)
        snprintf(left, sizeof left, ", %.0f %%, %.0f s left", 100 * done / total,
                 elapsed * (total - done) / done);
    snprintf(line, sizeof line, "%s: %s%s (%s%s/s%s)\n", what, amount, unit, rate, unit, left);
    screen_frame(screen, line);
    return 0;
}
