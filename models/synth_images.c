#include "models/synth_images.h"

#include "models/whole_file.h"
#include "sparse/rng.h"

#include <stdio.h>

enum {
    SIDE = HM_SYNTH_IMAGES_SIDE,
    CLASSES = 10,
    STYLES = 2, /* patterns of a class */
    KNOTS = 6,  /* of a pattern, along a side */
    MARGIN = 3, /* pixels around a pattern, for shifts */
    FIELD = SIDE + 2 * MARGIN,
    SHIFT_MAX = 3, /* pixels */
    NOISE = 56,    /* grey levels, each way */
    BLOCK = 256,   /* images written at once */
    HEAD_MAX = 16,
    PATH_BYTES_MAX = 4096,
};

/* Grey levels of every pattern. */
struct patterns {
    uint8_t of[CLASSES][STYLES][FIELD][FIELD];
};

/* Bilinear between knots, in 1/256. */
static uint8_t light_at(const uint8_t knot[KNOTS][KNOTS], int y, int x)
{
    int step = 256 * (KNOTS - 1) / (FIELD - 1);
    int fy = y * step, fx = x * step, ky = fy >> 8, kx = fx >> 8;
    fy &= 255;
    fx &= 255;
    int ny = ky + 1 < KNOTS ? ky + 1 : ky, nx = kx + 1 < KNOTS ? kx + 1 : kx;
    int top = knot[ky][kx] * (256 - fx) + knot[ky][nx] * fx;
    int low = knot[ny][kx] * (256 - fx) + knot[ny][nx] * fx;
    return (uint8_t)((top * (256 - fy) + low * fy) >> 16);
}

static void draw_pattern(struct hm_rng *rng, uint8_t field[FIELD][FIELD])
{
    uint8_t knot[KNOTS][KNOTS];
    for (int y = 0; y < KNOTS; y++)
        for (int x = 0; x < KNOTS; x++)
            knot[y][x] = hm_rng_below(rng, 2) ? (uint8_t)(128 + hm_rng_below(rng, 128)) : 0;
    for (int y = 0; y < FIELD; y++)
        for (int x = 0; x < FIELD; x++)
            field[y][x] = light_at(knot, y, x);
}

static void draw_patterns(uint64_t seed, struct patterns *patterns)
{
    struct hm_rng rng = hm_rng_seed(seed, 0);
    for (int c = 0; c < CLASSES; c++)
        for (int s = 0; s < STYLES; s++)
            draw_pattern(&rng, patterns->of[c][s]);
}

static int between(struct hm_rng *rng, int low, int high)
{
    return low + (int)hm_rng_below(rng, (uint32_t)(high - low + 1));
}

static uint8_t draw_image(const struct patterns *patterns, uint64_t seed, uint64_t i,
                          uint8_t pixel[SIDE * SIDE])
{
    struct hm_rng rng = hm_rng_seed(seed, i + 1);
    int label = between(&rng, 0, CLASSES - 1), other = between(&rng, 0, CLASSES - 1);
    int style = between(&rng, 0, STYLES - 1), other_style = between(&rng, 0, STYLES - 1);
    int dy = MARGIN + between(&rng, -SHIFT_MAX, SHIFT_MAX);
    int dx = MARGIN + between(&rng, -SHIFT_MAX, SHIFT_MAX);
    int own_light = between(&rng, 120, 256), other_light = between(&rng, 0, 110);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            int own = patterns->of[label][style][y + dy][x + dx] * own_light;
            int through =
                patterns->of[other][other_style][y + 2 * MARGIN - dy][x + dx] * other_light;
            int grey = ((own + through) >> 8) + between(&rng, -NOISE, NOISE);
            pixel[y * SIDE + x] = (uint8_t)(grey < 0 ? 0 : grey > 255 ? 255 : grey);
        }
    return (uint8_t)label;
}

/* ---- files ---- */

struct job {
    const struct patterns *patterns;
    uint64_t seed, from;
    uint32_t n;
    const struct hm_progress *progress;
};

static void put_u32(uint8_t *to, uint32_t x)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(x >> (24 - 8 * i));
}

static enum hm_status write_pixels(void *context, int fd, struct hm_err *err)
{
    const struct job *job = context;
    uint8_t block[BLOCK][SIDE * SIDE], head[HEAD_MAX];
    put_u32(head, 0x0803);
    put_u32(head + 4, job->n);
    put_u32(head + 8, SIDE);
    put_u32(head + 12, SIDE);
    enum hm_status status = hm_file_put(fd, head, sizeof head, err);
    for (uint32_t at = 0, n; at < job->n && !status; at += n) {
        n = job->n - at < BLOCK ? job->n - at : BLOCK;
        for (uint32_t i = 0; i < n; i++)
            draw_image(job->patterns, job->seed, job->from + at + i, block[i]);
        status = hm_file_put(fd, block, n * sizeof block[0], err);
        if (!status && hm_report(job->progress, "draw images", at + n, job->n, "images"))
            status = hm_fail(err, HM_ESTOPPED, "stopped");
    }
    return status;
}

static enum hm_status write_labels(void *context, int fd, struct hm_err *err)
{
    const struct job *job = context;
    uint8_t pixel[SIDE * SIDE], head[8], block[BLOCK];
    put_u32(head, 0x0801);
    put_u32(head + 4, job->n);
    enum hm_status status = hm_file_put(fd, head, sizeof head, err);
    for (uint32_t at = 0, n; at < job->n && !status; at += n) {
        n = job->n - at < BLOCK ? job->n - at : BLOCK;
        for (uint32_t i = 0; i < n; i++)
            block[i] = draw_image(job->patterns, job->seed, job->from + at + i, pixel);
        status = hm_file_put(fd, block, n, err);
    }
    return status;
}

static enum hm_status write_set(const char *dir, const char *name, struct job *job,
                                struct hm_err *err)
{
    char path[PATH_BYTES_MAX];
    snprintf(path, sizeof path, "%s/%s-images-idx3-ubyte", dir, name);
    enum hm_status status = hm_whole_file(path, write_pixels, job, err);
    if (status)
        return status;
    snprintf(path, sizeof path, "%s/%s-labels-idx1-ubyte", dir, name);
    return hm_whole_file(path, write_labels, job, err);
}

enum hm_status hm_synth_images_write(const struct hm_synth_images *synth, const char *dir,
                                     const struct hm_progress *progress, struct hm_err *err)
{
    struct patterns patterns;
    if (!synth->n_train || !synth->n_test || synth->n_train > INT32_MAX - synth->n_test)
        return hm_fail(err, HM_EUSAGE,
                       "%u training and %u test images: at least 1 of each, and "
                       "fewer than 2^31 in all, are expected",
                       synth->n_train, synth->n_test);
    enum hm_status status = hm_folder_make(dir, err);
    draw_patterns(synth->seed, &patterns);
    struct job train = {&patterns, synth->seed, 0, synth->n_train, progress};
    struct job test = {&patterns, synth->seed, synth->n_train, synth->n_test, progress};
    if (!status)
        status = write_set(dir, "train", &train, err);
    return status ? status : write_set(dir, "t10k", &test, err);
}
