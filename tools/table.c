#include "tools/table.h"

#include "tools/screen.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

static const double WINDOW_SECONDS = 1;

double table_measure(struct table_meter *meter, double seconds, double value)
{
    if (!meter->begun || value < meter->value) {
        *meter = (struct table_meter){meter->id, 1, seconds, value, NAN};
        return NAN;
    }
    double passed = seconds - meter->at;
    if (passed >= WINDOW_SECONDS) {
        meter->rate = (value - meter->value) / passed;
        meter->at = seconds;
        meter->value = value;
    }
    return meter->rate;
}

struct text {
    char *at;
    size_t n, room;
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text->at + text->n, text->room - text->n, format, args);
    va_end(args);
    text->n += n < 0 ? 0 : (size_t)n;
    if (text->n >= text->room)
        text->n = text->room - 1;
}

static const char *amount(double x, char out[16])
{
    if (isfinite(x))
        screen_amount(out, x);
    else
        strcpy(out, "-");
    return out;
}

/* "3 s", "2:05 min", "1:02 h" */
static const char *duration(double s, char out[32])
{
    if (s < 100)
        snprintf(out, 32, "%.0f s", s);
    else if (s < 6000)
        snprintf(out, 32, "%d:%02d min", (int)s / 60, (int)s % 60);
    else
        snprintf(out, 32, "%.0f:%02d h", fmin(floor(s / 3600), 99999), (int)fmod(s / 60, 60));
    return out;
}

/* What is left by the budget or the time limit, whichever ends first; NaN: nobody knows. */
static double seconds_left(const struct table_head *h)
{
    double left = h->budget > 0 && h->examples > 0 && h->seconds > 0
                      ? h->seconds * (h->budget / h->examples - 1)
                      : NAN;
    if (h->limit > 0 && h->seconds > 0)
        left = fmin(left, h->limit - h->seconds);
    return isnan(left) || left > 0 ? left : 0;
}

static void add_progress(struct text *text, const struct table_head *h, const char *between)
{
    char left[32];
    if (h->budget > 0)
        add(text, "%s%.0f %%", between, fmin(100 * h->examples / h->budget, 100));
    if (isfinite(seconds_left(h)))
        add(text, "%s%s left", between, duration(seconds_left(h), left));
}

static void add_score(struct text *text, const struct table_head *h, const char *between)
{
    if (isfinite(h->accuracy))
        add(text, "%saccuracy %.2f %%", between, 100 * h->accuracy);
    if (isfinite(h->loss))
        add(text, "%sloss %.4f", between, h->loss);
    if (isfinite(h->cost) && h->cost != h->loss)
        add(text, "%scost %.4f", between, h->cost);
}

size_t table_line(const struct table_head *h, char *out, size_t room)
{
    char examples[16], rate[16];
    struct text text = {out, 0, room};
    add(&text, "%-6s %u nodes, %s examples (%s/s", h->stage, h->n_nodes,
        amount(h->examples, examples), amount(h->rate, rate));
    add_progress(&text, h, ", ");
    add(&text, ")");
    add_score(&text, h, ", ");
    if (isfinite(h->staleness))
        add(&text, ", staleness %.1f", h->staleness);
    if (isfinite(h->lag))
        add(&text, ", lag %.0f", h->lag);
    if (isfinite(h->repaired))
        add(&text, ", repaired %.0f", h->repaired);
    if (isfinite(h->megabytes))
        add(&text, ", %.2f MB/s", h->megabytes);
    add(&text, "\n");
    return text.n;
}

/* ---- rows ---- */

enum column { STATE, EXAMPLES, RATE, STALENESS, LAG, REPAIRED, MEGABYTES, COLUMNS };

static const struct {
    const char *name;
    unsigned width; /* with the space before it */
    unsigned rank;  /* who goes first when there is no room: the highest */
} column[COLUMNS] = {[STATE] = {"state", 8, 2},      [EXAMPLES] = {"examples", 10, 5},
                     [RATE] = {"examples/s", 12, 0}, [STALENESS] = {"staleness", 11, 3},
                     [LAG] = {"lag", 6, 1},          [REPAIRED] = {"repaired", 10, 6},
                     [MEGABYTES] = {"MB/s", 8, 4}};

enum { LABEL_LEAST = 8 };

/* Which columns there is room for beside names of this width. */
static void choose(bool shown[COLUMNS], unsigned label, unsigned width)
{
    unsigned used = label;
    for (unsigned i = 0; i < COLUMNS; i++) {
        shown[i] = true;
        used += column[i].width;
    }
    for (unsigned rank = COLUMNS; used >= width && rank-- > 0;)
        for (unsigned i = 0; i < COLUMNS; i++)
            if (column[i].rank == rank) {
                shown[i] = false;
                used -= column[i].width;
            }
}

static void add_cell(struct text *text, const struct table_row *row, unsigned i)
{
    char cell[16];
    const double value[COLUMNS] = {
        [EXAMPLES] = row->examples, [RATE] = row->rate,         [STALENESS] = row->staleness,
        [LAG] = row->lag,           [REPAIRED] = row->repaired, [MEGABYTES] = row->megabytes};
    if (i == STATE)
        snprintf(cell, sizeof cell, "%.7s", row->state);
    else if (!isfinite(value[i]))
        strcpy(cell, "-");
    else if (i == STALENESS)
        snprintf(cell, sizeof cell, "%.1f", fmin(value[i], 1e9));
    else if (i == MEGABYTES)
        snprintf(cell, sizeof cell, "%.2f", fmin(value[i], 1e9));
    else
        screen_amount(cell, value[i]);
    add(text, "%*s", (int)column[i].width, cell);
}

/* Half a number would be another one: parts, which stand two spaces apart, are there or not. */
static void cut(struct text *text, unsigned width)
{
    while (text->n >= width && text->n > 2) {
        size_t at = text->n - 2;
        while (at && (text->at[at] != ' ' || text->at[at + 1] != ' '))
            at--;
        if (!at)
            return;
        text->n = at;
        text->at[at] = 0;
    }
}

/* Rows that there is no room for, by their states: who is silent or gone is not to be missed. */
static void add_rest(struct text *text, const struct table_row *row, size_t n)
{
    add(text, "and %zu more:", n);
    for (size_t i = 0; i < n; i++) {
        size_t same = 0, before = 0;
        for (size_t k = 0; k < n; k++) {
            bool is_same = strcmp(row[k].state, row[i].state) == 0;
            same += is_same;
            before += is_same && k < i;
        }
        if (!before)
            add(text, "%s %zu %s", i ? "," : "", same, row[i].state);
    }
    add(text, "\n");
}

size_t table_draw(const struct table_head *h, const struct table_row *row, size_t n, unsigned width,
                  unsigned height, char *out, size_t room)
{
    char examples[16], rate[16];
    struct text text = {out, 0, room};
    bool shown[COLUMNS];
    unsigned label = LABEL_LEAST;
    for (size_t i = 0; i < n; i++)
        label = strlen(row[i].label) > label ? (unsigned)strlen(row[i].label) : label;
    if (label > width / 2) /* a name is not worth all the numbers */
        label = width / 2 > LABEL_LEAST ? width / 2 : LABEL_LEAST;
    choose(shown, label, width);
    add(&text, "%s", h->stage);
    add_progress(&text, h, "  ");
    add(&text, "  %s/s", amount(h->rate, rate));
    add_score(&text, h, "  ");
    add(&text, "  %s examples", amount(h->examples, examples));
    cut(&text, width);
    add(&text, "\n%-*s", (int)label, "node");
    for (unsigned i = 0; i < COLUMNS; i++)
        if (shown[i])
            add(&text, "%*s", (int)column[i].width, column[i].name);
    add(&text, "\n");
    size_t most = height > 5 ? height - 4 : 1; /* beside two lines above, one below, the cursor's */
    for (size_t i = 0; i < n && i < most; i++) {
        add(&text, "%-*.*s", (int)label, (int)label, row[i].label);
        for (unsigned k = 0; k < COLUMNS; k++)
            if (shown[k])
                add_cell(&text, &row[i], k);
        add(&text, "\n");
    }
    if (n > most)
        add_rest(&text, row + most, n - most);
    return text.n;
}
