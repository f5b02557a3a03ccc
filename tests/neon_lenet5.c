/* LeNet5's kernels against the reference, as a program that needs no library: tests/test_neon.py
 * builds it for aarch64 and runs it under an emulator. One line a table; exit code 1 when one is off.
 */
#include "tests/lenet5_check.h"

static int check(const struct lenet5_scene *scene, const struct hm_lenet5_kernels *kernels)
{
    static const unsigned size[] = {1, 5, 33};
    double most = 0;
    const char *worst = "nothing", *name = worst;
    for (unsigned i = 0; i < 2 * sizeof size / sizeof size[0]; i++) {
        double error = lenet5_error(scene, kernels, 3 * i, size[i / 2], i % 2 ? .3f : 0, &worst);
        name = error > most ? worst : name;
        most = error > most ? error : most;
    }
    printf("%s, %u channels: %s is off by %.2g\n", kernels->name, scene->channels, name, most);
    return !(most <= LENET5_TOLERANCE);
}

int main(void)
{
    int failed = 0;
    for (unsigned channels = 1; channels <= 3; channels += 2) {
        struct lenet5_scene *scene = lenet5_scene(channels);
        for (unsigned k = 0; hm_lenet5_kernels_at(k, channels); k++)
            failed |= check(scene, hm_lenet5_kernels_at(k, channels));
        free(scene);
    }
    return failed;
}
