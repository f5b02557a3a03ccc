#include "tools/screen.h"

#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
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

void screen_size(unsigned *columns, unsigned *lines)
{
    struct winsize size = {0};
    int known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row;
    *columns = !known ? 80 : size.ws_col < 20 ? 20 : size.ws_col;
    *lines = !known ? 24 : size.ws_row < 4 ? 4 : size.ws_row;
}

/* A window that has become narrower has broken the lines that stand there. */
static void wipe(struct screen *screen)
{
    unsigned columns, lines, up = 0;
    screen_size(&columns, &lines);
    for (unsigned i = 0; i < screen->lines; i++)
        up += screen->columns[i] ? (screen->columns[i] + columns - 1) / columns : 1;
    if (screen->terminal && up)
        fprintf(stderr, "\033[%uA\033[J", up < lines ? up : lines - 1);
    screen->lines = 0;
}

/* As much of a line as fits, not up to the last column: there some terminals go on to the next
 * line. Returns the end of the line. */
static const char *put_line(struct screen *screen, const char *line, unsigned columns)
{
    unsigned n = 0;
    const char *c = line;
    for (; *c && *c != '\n'; c++) {
        n += (*c & 0xc0) != 0x80; /* of UTF-8, the first byte */
        if (n < columns)
            fputc(*c, stderr);
    }
    fputc('\n', stderr);
    screen->columns[screen->lines++] = (unsigned short)(n < columns ? n : columns - 1);
    return *c ? c + 1 : c;
}

void screen_frame(struct screen *screen, const char *text)
{
    if (screen->quiet)
        return;
    wipe(screen);
    if (!screen->terminal) {
        fputs(text, stderr);
        return;
    }
    unsigned columns, lines;
    screen_size(&columns, &lines);
    for (const char *c = text; *c && screen->lines < lines - 1 && screen->lines < SCREEN_LINES_MAX;)
        c = put_line(screen, c, columns);
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
