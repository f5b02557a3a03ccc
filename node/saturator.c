#include "node/saturator.h"

#include "sparse/cell_vec.h"
#include "sparse/zeroed.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of logistic loss: its second derivative where words are neither sure nor unsure of each other. */
static const double CURVATURE = .15;

static const float SAME = .02f; /* relaxations that differ by less share M */

enum {
    ESTIMATE_LEAST = 20000, /* mesh-wide steps between estimates, ... */
    ESTIMATE_PART = 16,     /* and this part of all at least, ... */
    ROUNDS_FIRST = 6,
    ROUNDS = 1,
};

/* ---- opening ---- */

static uint32_t chunks_of(uint32_t rows)
{
    return (rows + HM_CHUNK_ROWS - 1) / HM_CHUNK_ROWS;
}

static bool open_side(struct hm_saturator *s, unsigned side)
{
    const struct hm_tensor *tensor = &s->weights->layout.tensor[side];
    struct hm_side *own = &s->side[side];
    own->n_chunks = chunks_of(tensor->rows);
    own->n_hot = chunks_of(tensor->rows < HM_HOT_ROWS ? tensor->rows : HM_HOT_ROWS);
    own->mu = hm_zeroed(tensor->rows * sizeof *own->mu);
    own->directions.u = hm_zeroed(HM_DIRECTIONS * tensor->stride * sizeof(float));
    if (!own->mu || !own->directions.u)
        return false;
    s->model->ops->meetings(s->model, side, own->mu);
    return true;
}

enum hm_status hm_saturator_open(struct hm_saturator *s, const struct hm_model *model,
                                 const char *isa, struct hm_dirty *dirty,
                                 struct hm_weights *weights, struct hm_err *err)
{
    const size_t stride = weights->layout.tensor[0].stride;
    *s = (struct hm_saturator){.model = model,
                               .kernels = hm_saturate_kernels_find(isa),
                               .weights = weights,
                               .dirty = dirty,
                               .rng = hm_rng_seed(0x7361746Du, 1)};
    assert(s->kernels);
    assert(weights->layout.n_tensors == 2);
    assert(weights->layout.tensor[1].stride == stride);
    s->met = hm_zeroed(HM_MET_ROWS * stride * sizeof *s->met);
    s->room = hm_zeroed(HM_DIRECTIONS * stride * sizeof *s->room);
    s->walk = hm_zeroed(HM_CHUNK_ROWS * stride * sizeof *s->walk);
    s->q = hm_zeroed(HM_CHUNK_ROWS * stride * sizeof *s->q);
    bool ok = s->met && s->room && s->walk && s->q && open_side(s, 0) && open_side(s, 1);
    return ok ? HM_OK : hm_fail(err, HM_ENOMEM, "no memory to combine the nodes' steps");
}

void hm_saturator_close(struct hm_saturator *s)
{
    for (unsigned side = 0; side < 2; side++) {
        free(s->side[side].mu);
        free(s->side[side].directions.u);
    }
    free(s->met);
    free(s->room);
    free(s->walk);
    free(s->q);
    *s = (struct hm_saturator){0};
}

uint64_t hm_saturator_bytes(const struct hm_layout *layout)
{
    uint64_t stride = layout->tensor[0].stride;
    uint64_t rows = HM_MET_ROWS + 3 * HM_DIRECTIONS + 2 * HM_CHUNK_ROWS;
    return sizeof(float) * (rows * stride + layout->tensor[0].rows + layout->tensor[1].rows);
}

/* ---- directions ---- */

/* Rows of the other table, as those of this one meet them; of those that are numbers. */
static size_t meet(struct hm_saturator *s, unsigned side)
{
    const struct hm_tensor *other = &s->weights->layout.tensor[1 - side];
    const hm_cell *table = s->weights->w + hm_tensor_at(other);
    size_t n = 0;
    for (unsigned i = 0; i < HM_MET_ROWS; i++) {
        float *y = s->met + n * other->stride, sum = 0;
        uint32_t row = s->model->ops->met(s->model, side, &s->rng);
        hm_cells_get(table + (size_t)row * other->stride, y, other->stride);
        for (uint32_t k = 0; k < other->cols; k++)
            sum += fabsf(y[k]);
        n += sum < 1e15f;
    }
    return n;
}

static void estimate(struct hm_saturator *s, uint64_t mesh_steps)
{
    const struct hm_tensor *tensor = &s->weights->layout.tensor[0];
    for (unsigned side = 0; side < 2; side++) {
        struct hm_directions *directions = &s->side[side].directions;
        bool first = directions->lambda[0] <= 0;
        size_t n = meet(s, side);
        hm_directions_turn(directions, s->kernels, s->met, n, tensor->cols, tensor->stride,
                           first ? ROUNDS_FIRST : ROUNDS, s->room);
    }
    s->estimated_at = mesh_steps;
}

/* Tables change fast at first; later their directions are good for as long as a turn of the rows.
 */
static bool is_stale(const struct hm_saturator *s, const struct hm_saturator_turn *turn)
{
    uint64_t good = turn->mesh_steps / ESTIMATE_PART, most = turn->pass_steps * turn->n_live;
    good = good < most ? good : most;
    good = good > ESTIMATE_LEAST ? good : ESTIMATE_LEAST;
    return !s->estimated_at || turn->mesh_steps >= s->estimated_at + good;
}

/* ---- rows ---- */

/* What all rows of a class have in common. */
struct pass {
    struct hm_saturator *s;
    const struct hm_kernels *kernels;
    const struct hm_publish *publish;
    struct hm_delta *delta;
    struct hm_extract_stats *stats;
    bool whole;    /* all rows, whatever their marks */
    uint32_t seen; /* blocks gone through */
};

/* M of the rows of a chunk. Words of nearly the same frequency share one. */
struct maps {
    unsigned n;
    struct map {
        float x;
        int some; /* 0: the identity */
        struct hm_projection m, inverse;
    } map[HM_CHUNK_ROWS];
    const struct map *of[HM_CHUNK_ROWS]; /* rows */
};

/* A chunk of a table, as blocks and coordinates. */
struct chunk {
    const struct hm_tensor *tensor;
    unsigned side;
    uint32_t row, n_rows;
    uint32_t block, n_blocks;
    size_t at;
    size_t begin, end; /* coordinates of it, whole blocks, that have something to publish */
};

static struct chunk chunk_of(const struct hm_saturator *s, unsigned side, uint32_t number)
{
    const struct hm_tensor *tensor = &s->weights->layout.tensor[side];
    const uint32_t blocks = HM_CHUNK_ROWS * tensor->stride / HM_BLOCK;
    struct chunk c = {.tensor = tensor, .side = side, .row = number * HM_CHUNK_ROWS};
    uint32_t left = tensor->rows - c.row, first = number * blocks;
    c.n_rows = left < HM_CHUNK_ROWS ? left : HM_CHUNK_ROWS;
    c.block = tensor->block + first;
    c.n_blocks = tensor->n_blocks - first < blocks ? tensor->n_blocks - first : blocks;
    c.at = (size_t)c.block * HM_BLOCK;
    return c;
}

/* Eight at once; whoever marks meanwhile will be seen by the next flush. */
static bool any_marked(const hm_mark *mark, uint32_t n)
{
#ifdef HM_TSAN
    (void)mark;
    return n > 0;
#else
    uint64_t any = 0, eight;
    uint32_t i = 0;
    for (; i + sizeof eight <= n; i += sizeof eight) {
        memcpy(&eight, (const void *)(mark + i), sizeof eight);
        any |= eight;
    }
    for (; i < n; i++)
        any |= atomic_load_explicit(&mark[i], memory_order_relaxed);
    return any != 0;
#endif
}

/* Takes the marks of a chunk away; a bit for each of its rows that may have been added to. */
static uint32_t take_marks(struct hm_dirty *dirty, const struct chunk *c)
{
    uint32_t rows = 0;
    if (!any_marked(dirty->mark + c->block, c->n_blocks))
        return 0;
    for (uint32_t i = 0; i < c->n_blocks; i++) {
        hm_mark *mark = &dirty->mark[c->block + i];
        if (!atomic_load_explicit(mark, memory_order_acquire))
            continue;
        atomic_store_explicit(mark, 0, memory_order_relaxed);
        uint32_t first = i * HM_BLOCK / c->tensor->stride,
                 last = (i * HM_BLOCK + HM_BLOCK - 1) / c->tensor->stride;
        rows |= (2u << last) - (1u << first);
    }
    /* The marks are gone before W is read: an add that is not seen comes after, with its mark. */
    if (rows)
        atomic_thread_fence(memory_order_seq_cst);
    return rows & ((1u << c->n_rows) - 1);
}

static const struct map *map_of(struct maps *maps, const struct hm_row_class *class,
                                const struct hm_directions *directions, float x)
{
    struct map *last = maps->map + maps->n - 1;
    if (maps->n && fabsf(x - last->x) <= SAME * last->x)
        return last;
    last = maps->map + maps->n++;
    last->x = x;
    last->some = hm_saturation_of_row(&class->table, directions, x, &last->m, &last->inverse);
    return last;
}

/* What extract takes for W: M's result where rows have a turn, B elsewhere. Returns a bit for each
 * row that M has changed. */
static uint32_t fill_walk(const struct pass *p, const struct chunk *c,
                          const struct hm_row_class *class, uint32_t rows, struct maps *maps)
{
    struct hm_saturator *s = p->s;
    const struct hm_side *side = &s->side[c->side];
    const size_t stride = c->tensor->stride;
    const float grid = hm_exp2i(c->tensor->grid_exp);
    const hm_cell *w = s->weights->w + c->at;
    const uint32_t *b = s->weights->b + c->at;
    float *walk = (float *)(void *)s->walk;
    uint32_t changed = 0;
    for (size_t i = c->begin / stride, at = i * stride; at < c->end; i++, at += stride) {
        if (!(rows >> i & 1)) {
            for (size_t k = at > c->begin ? at : c->begin; k < at + stride && k < c->end; k++)
                walk[k] = (float)(int32_t)b[k] * grid;
            continue;
        }
        const struct map *map =
            map_of(maps, class, &side->directions, class->x * side->mu[c->row + i]);
        maps->of[i] = map;
        if (s->kernels->walk(w + at, b + at, stride, grid, grid / 2, map->some ? &map->m : NULL,
                             walk + at))
            changed |= 1u << i;
    }
    return changed;
}

/* Own W follows what was published: of rows that M has changed more or less than that. */
static void give_back(const struct pass *p, const struct chunk *c, uint32_t changed, uint32_t from,
                      const struct maps *maps)
{
    struct hm_saturator *s = p->s;
    const size_t stride = c->tensor->stride;
    const float grid = hm_exp2i(c->tensor->grid_exp);
    uint32_t given = 0;
    memset(s->q, 0, HM_CHUNK_ROWS * stride * sizeof *s->q);
    for (uint32_t i = from; i < p->delta->n_blocks; i++) {
        const size_t at = (size_t)(p->delta->block[i] - c->block) * HM_BLOCK;
        uint32_t first = (uint32_t)(at / stride), last = (uint32_t)((at + HM_BLOCK - 1) / stride);
        memcpy(s->q + at, p->delta->q[i], HM_BLOCK * sizeof *s->q);
        given |= (2u << last) - (1u << first);
    }
    for (uint32_t r = 0; r < c->n_rows; r++)
        if (changed & given & 1u << r)
            s->kernels->back(s->q + r * stride, stride, grid, &maps->of[r]->inverse,
                             s->weights->w + c->at + r * stride);
}

/* What was no number in W has been set back in the walk. */
static void set_back(struct hm_saturator *s, const struct chunk *c)
{
    for (size_t i = c->begin; i < c->end; i++)
        if (!isfinite(hm_cell_get(&s->weights->w[c->at + i])))
            hm_cell_set(&s->weights->w[c->at + i], hm_cell_get(&s->walk[i]));
}

static void mark_again(struct hm_dirty *dirty, const struct chunk *c)
{
    for (uint32_t i = 0; dirty->mark && i < c->n_blocks; i++)
        atomic_store_explicit(&dirty->mark[c->block + i], 1, memory_order_relaxed);
}

static void extract_from_walk(const struct pass *p, const struct chunk *c)
{
    struct hm_weights view = *p->s->weights;
    /* A view in which the walk lies where the chunk's weights do; no other part of it is touched.
     */
    view.w = (hm_cell *)((uintptr_t)p->s->walk - c->at * sizeof *view.w);
    p->kernels->extract(&view, c->block + (uint32_t)(c->begin / HM_BLOCK),
                        c->block + (uint32_t)(c->end / HM_BLOCK), p->publish, p->delta, p->stats);
}

/* The blocks of rows [first, last]. */
static void narrow(struct chunk *c, uint32_t first, uint32_t last)
{
    const size_t stride = c->tensor->stride;
    c->begin = first * stride / HM_BLOCK * HM_BLOCK;
    c->end = ((last + 1) * stride + HM_BLOCK - 1) / HM_BLOCK * HM_BLOCK;
}

static void take_chunk(struct pass *p, unsigned side, const struct hm_row_class *class,
                       uint32_t number)
{
    struct chunk c = chunk_of(p->s, side, number);
    struct maps maps;
    struct hm_dirty *dirty = p->s->dirty;
    maps.n = 0;
    const uint32_t from = p->delta->n_blocks, all = (1u << c.n_rows) - 1;
    const uint64_t clipped = p->stats->n_clipped, broken = p->stats->n_nonfinite;
    uint32_t rows = dirty->mark ? take_marks(dirty, &c) & all : all;
    if (p->whole || (number + class->visits) % HM_DIRTY_TURNS == 0)
        rows = all;
    if (!rows)
        return;
    narrow(&c, (uint32_t)__builtin_ctz(rows), 31 - (uint32_t)__builtin_clz(rows));
    uint32_t changed = fill_walk(p, &c, class, rows, &maps);
    extract_from_walk(p, &c);
    p->seen += (uint32_t)((c.end - c.begin) / HM_BLOCK);
    if (p->stats->n_nonfinite != broken)
        set_back(p->s, &c);
    if (p->stats->n_clipped != clipped)
        mark_again(dirty, &c);
    if (changed)
        give_back(p, &c, changed, from, &maps);
}

/* ---- classes ---- */

/* The numbers of a class that is published now: x and F for the steps since it last was, at their
 * mean rate. A run may end at a rate of nearly nothing, but not all that is published then was made
 * at it. */
static void enter(struct hm_row_class *class, const struct hm_saturator_turn *turn, double rate)
{
    const double k = (double)(turn->own_steps - class->at);
    const bool alone = turn->n_live <= 1 || k <= 0;
    hm_saturation_fill(&class->table, alone ? 1 : turn->n_live * (1 + turn->delay_steps / k));
    class->x = (float)((class->rate + rate) / 2 * CURVATURE * k);
}

static void leave(const struct hm_saturator *s, struct hm_row_class *class, uint64_t own_steps,
                  double rate)
{
    class->at = own_steps;
    class->rate = rate;
    class->flush = s->flushes;
    class->visits++;
}

/* Blocks that a slice is expected to publish: what it did before, or the one that had the last
 * turn, as they grow alike; or all that it has, which at last it may. */
static double expected(const struct hm_saturator *s, const struct hm_row_class *slice, bool final)
{
    const struct hm_row_class *last = &s->slice[(s->next + HM_SLICES - 1) % HM_SLICES];
    const struct hm_layout *layout = &s->weights->layout;
    return slice->visits && !final ? fmax(slice->blocks, last->blocks)
                                   : (double)layout->n_blocks / HM_SLICES;
}

/* How many slices have their turn, from s->next on. Under a cap the hot rows take what they need
 * first, but of what there is the rest gets as much. */
static unsigned slices_due(struct hm_saturator *s, const struct hm_saturator_turn *turn)
{
    double room = fmax((double)turn->room_blocks - s->hot.blocks, fmax(s->hot.blocks, 1));
    unsigned n = 0;
    if (turn->final) {
        s->left = s->left ? s->left : HM_SLICES;
        s->credit = s->left;
    } else if (!turn->pass_steps)
        s->credit = HM_SLICES;
    else
        s->credit +=
            (double)(turn->own_steps - s->own_steps) / (double)turn->pass_steps * HM_SLICES;
    s->credit = fmin(s->credit, HM_SLICES);
    for (; n < HM_SLICES && s->credit >= 1 && room > 0; n++, s->credit--)
        room -= expected(s, &s->slice[(s->next + n) % HM_SLICES], turn->final);
    s->left -= turn->final ? n : s->left;
    return n;
}

/* What is more than expected counts at once: there may be no room for it. */
static void note_blocks(struct hm_row_class *class, uint32_t blocks)
{
    class->blocks += (blocks < class->blocks ? .3 : 1) * ((double)blocks - class->blocks);
}

/* A table: hot rows first, then the slices that are due, all in the order of their blocks. */
static void take_side(struct pass *p, unsigned side, unsigned n_due, uint32_t *blocks)
{
    struct hm_saturator *s = p->s;
    const struct hm_side *own = &s->side[side];
    uint32_t before = p->delta->n_blocks;
    for (uint32_t i = 0; i < own->n_hot; i++)
        take_chunk(p, side, &s->hot, i);
    blocks[HM_SLICES] += p->delta->n_blocks - before;
    for (uint32_t i = own->n_hot; n_due && i < own->n_chunks; i++) {
        const unsigned slice = i % HM_SLICES;
        if ((slice + HM_SLICES - s->next) % HM_SLICES >= n_due)
            continue;
        before = p->delta->n_blocks;
        take_chunk(p, side, &s->slice[slice], i);
        blocks[slice] += p->delta->n_blocks - before;
    }
}

static uint64_t oldest_of(const struct hm_saturator *s)
{
    uint64_t oldest = s->hot.flush;
    for (unsigned i = 0; i < HM_SLICES; i++)
        oldest = s->slice[i].flush < oldest ? s->slice[i].flush : oldest;
    return s->flushes - oldest;
}

uint32_t hm_saturator_extract(struct hm_saturator *s, const struct hm_kernels *kernels,
                              const struct hm_publish *publish,
                              const struct hm_saturator_turn *turn, struct hm_delta *delta,
                              struct hm_extract_stats *stats)
{
    uint32_t blocks[HM_SLICES + 1] = {0};
    const unsigned n_due = slices_due(s, turn);
    const double rate = s->model->ops->rate(s->model, (double)turn->mesh_steps);
    struct pass p = {.s = s,
                     .kernels = kernels,
                     .publish = publish,
                     .delta = delta,
                     .stats = stats,
                     .whole = turn->final};
    if (turn->n_live > 1 && is_stale(s, turn))
        estimate(s, turn->mesh_steps);
    if (!s->flushes++)
        for (unsigned i = 0; i < HM_SLICES; i++)
            s->hot.rate = s->slice[i].rate = rate;
    enter(&s->hot, turn, rate);
    for (unsigned i = 0; i < n_due; i++)
        enter(&s->slice[(s->next + i) % HM_SLICES], turn, rate);
    for (unsigned side = 0; side < 2; side++)
        take_side(&p, side, n_due, blocks);
    leave(s, &s->hot, turn->own_steps, rate);
    note_blocks(&s->hot, blocks[HM_SLICES]);
    for (unsigned i = 0; i < n_due; i++) {
        const unsigned slice = (s->next + i) % HM_SLICES;
        leave(s, &s->slice[slice], turn->own_steps, rate);
        note_blocks(&s->slice[slice], blocks[slice]);
    }
    s->next = (s->next + n_due) % HM_SLICES;
    s->own_steps = turn->own_steps;
    stats->oldest = oldest_of(s);
    stats->more = s->left > 0;
    return p.seen;
}
