/* A scene for LeNet5's kernels without any library: images drawn here, weights trained on them, and
 * how far a table's gradient is from the reference's. For the unit test and for programs that run
 * under an emulator. */
#ifndef HM_TESTS_LENET5_CHECK_H
#define HM_TESTS_LENET5_CHECK_H

#include "models/lenet5_net.h"
#include "sparse/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LENET5_IMAGES = 160, LENET5_TRAIN_STEPS = 120, LENET5_TRAIN_BATCH = 16 };

static const double LENET5_TOLERANCE = 2e-5; /* of a tensor's largest number */

struct lenet5_scene {
    unsigned channels;
    struct hm_layout layout;
    size_t n; /* floats of the layout */
    uint8_t pixel[LENET5_IMAGES][HM_LENET5_IMAGE_MAX];
    const uint8_t *image[LENET5_IMAGES];
    uint8_t label[LENET5_IMAGES];
    float w[HM_LENET5_FLOATS_MAX + HM_LENET5_BEYOND];
};

/* A blob of light whose place tells the class, and noise. */
static inline void lenet5_draw(uint8_t *pixel, unsigned channels, int side, uint64_t number,
                               unsigned label)
{
    struct hm_rng rng = hm_rng_seed(number, 7);
    int cy = 6 + (int)(label / 5) * 12 + (int)hm_rng_below(&rng, 5);
    int cx = 3 + (int)(label % 5) * 5 + (int)hm_rng_below(&rng, 4);
    for (unsigned c = 0; c < channels; c++)
        for (int y = 0; y < side; y++)
            for (int x = 0; x < side; x++) {
                int d = (y - cy) * (y - cy) + (x - cx) * (x - cx);
                int light = 220 - 9 * d - 20 * (int)c;
                light = (light > 0 ? light : 0) + (int)hm_rng_below(&rng, 35);
                *pixel++ = (uint8_t)light;
            }
}

/* Glorot's limits, uniform. */
static inline void lenet5_init(struct lenet5_scene *scene, uint64_t seed)
{
    struct hm_rng rng = hm_rng_seed(seed, 1);
    memset(scene->w, 0, sizeof scene->w);
    for (unsigned t = 0; t < HM_LENET5_TENSORS; t++) {
        struct hm_lenet5_tensor tensor = hm_lenet5_tensor(scene->channels, t);
        double limit = 1 / sqrt(tensor.fan_in);
        for (uint32_t i = 0; i < tensor.n; i++)
            scene->w[hm_lenet5_place(scene->channels, t, i)] =
                (float)((2 * hm_rng_unit(&rng) - 1) * limit);
    }
}

static inline void *lenet5_scratch(const struct hm_lenet5_kernels *kernels)
{
    size_t bytes = (kernels->scratch_bytes + 63) / 64 * 64;
    void *scratch = aligned_alloc(64, bytes);
    if (!scratch)
        abort();
    return memset(scratch, 0, bytes);
}

static inline double lenet5_grad(const struct hm_lenet5_kernels *kernels,
                                 const struct lenet5_scene *scene, unsigned from, unsigned n,
                                 float dropout, float *g)
{
    void *scratch = lenet5_scratch(kernels);
    struct hm_lenet5_batch batch = {scene->image + from, scene->label + from, n, dropout, 99};
    double loss = kernels->grad(scratch, scene->w, &batch, g);
    free(scratch);
    return loss;
}

/* Some steps of SGD. */
static inline void lenet5_train(struct lenet5_scene *scene, const struct hm_lenet5_kernels *kernels)
{
    float *g = malloc(sizeof scene->w);
    void *scratch = lenet5_scratch(kernels);
    if (!g)
        abort();
    for (unsigned step = 0; step < LENET5_TRAIN_STEPS; step++) {
        unsigned from = step * LENET5_TRAIN_BATCH % (LENET5_IMAGES - LENET5_TRAIN_BATCH + 1);
        struct hm_lenet5_batch batch = {scene->image + from, scene->label + from,
                                        LENET5_TRAIN_BATCH, 0, 0};
        kernels->grad(scratch, scene->w, &batch, g);
        for (size_t i = 0; i < scene->n; i++)
            scene->w[i] -= .1f * g[i];
    }
    free(scratch);
    free(g);
}

/* With weights that have been trained by the best table there is. To be freed. */
static inline struct lenet5_scene *lenet5_scene(unsigned channels)
{
    struct lenet5_scene *scene = malloc(sizeof *scene);
    int side = channels == 1 ? 28 : 32;
    if (!scene)
        abort();
    scene->channels = channels;
    if (hm_lenet5_layout(&scene->layout, channels, -12, NULL))
        abort();
    scene->n = hm_layout_n(&scene->layout);
    for (unsigned i = 0; i < LENET5_IMAGES; i++) {
        scene->label[i] = (uint8_t)(i * 7 % 10);
        scene->image[i] = scene->pixel[i];
        lenet5_draw(scene->pixel[i], channels, side, i, scene->label[i]);
    }
    lenet5_init(scene, 5);
    lenet5_train(scene, hm_lenet5_kernels_at(0, channels));
    return scene;
}

/* The largest difference of two gradients, each tensor by its largest number. */
static inline double lenet5_difference(const struct lenet5_scene *scene, const float *g,
                                       const float *truth, const char **worst)
{
    double most = 0;
    for (unsigned t = 0; t < HM_LENET5_TENSORS; t++) {
        struct hm_lenet5_tensor tensor = hm_lenet5_tensor(scene->channels, t);
        double largest = 0, far = 0;
        for (uint32_t i = 0; i < tensor.n; i++) {
            size_t at = hm_lenet5_place(scene->channels, t, i);
            largest = fmax(largest, fabs((double)truth[at]));
            far = fmax(far, fabs((double)g[at] - (double)truth[at]));
        }
        if (!(far <= most * largest)) {
            most = far / largest;
            *worst = tensor.name;
        }
    }
    return most;
}

/* Of the gradient of n images from one on. */
static inline double lenet5_error_of(const struct lenet5_scene *scene,
                                     const struct hm_lenet5_kernels *kernels, unsigned from,
                                     unsigned n, float dropout, const char **worst)
{
    const struct hm_lenet5_kernels *ref = hm_lenet5_kernels_find("ref", scene->channels);
    float *g = malloc(sizeof scene->w), *truth = malloc(sizeof scene->w);
    if (!g || !truth)
        abort();
    double loss = lenet5_grad(kernels, scene, from, n, dropout, g);
    double true_loss = lenet5_grad(ref, scene, from, n, dropout, truth);
    double error = lenet5_difference(scene, g, truth, worst);
    if (!(fabs(loss - true_loss) <= 1e-5 * fabs(true_loss) + 1e-6 * n)) {
        error = fabs(loss - true_loss);
        *worst = "loss";
    }
    free(g);
    free(truth);
    return error;
}

/* ReLU and the maximum have edges: where two numbers are equal but for rounding, either side's
 * gradient is right. That is rare; what is wrong with these images is to be wrong with others too.
 */
static inline double lenet5_error(const struct lenet5_scene *scene,
                                  const struct hm_lenet5_kernels *kernels, unsigned from,
                                  unsigned n, float dropout, const char **worst)
{
    double error = lenet5_error_of(scene, kernels, from, n, dropout, worst);
    for (unsigned k = 1; k < 3 && error > LENET5_TOLERANCE; k++) {
        unsigned others = (from + 41 * k) % (LENET5_IMAGES - n + 1);
        double again = lenet5_error_of(scene, kernels, others, n, dropout, worst);
        error = again < error ? again : error;
    }
    return error;
}

#endif
