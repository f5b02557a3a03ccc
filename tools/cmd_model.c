/* hogmesh eval, export and synth: what is done with models and data outside of a run. */
#include "tools/cli.h"
#include "tools/screen.h"

#include "models/synth_images.h"
#include "models/synth_svm.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A saved model and the workload around it. */
struct loaded {
    struct hm_model_file file;
    struct hm_model *model;
};

static void unload(struct loaded *loaded)
{
    if (loaded->model)
        loaded->model->ops->close(loaded->model);
    hm_model_file_close(&loaded->file);
}

static enum hm_status load(struct cli *cli, const struct hm_progress *progress,
                           struct loaded *loaded, struct hm_err *err)
{
    char path[4096];
    struct stat st;
    *loaded = (struct loaded){0};
    if (cli->n_arguments != 1)
        return hm_fail(err, HM_EUSAGE,
                       "a folder written by --out, or its model.hm, is expected as argument");
    snprintf(path, sizeof path, "%s", cli->argument[0]);
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        snprintf(path, sizeof path, "%s/model.hm", cli->argument[0]);
    enum hm_status status = hm_model_file_open(&loaded->file, path, err);
    if (status)
        return status;
    struct hm_layout layout;
    status =
        hm_workload_find(cli->node.workload)->open(&loaded->model, &cli->node.train, progress, err);
    if (!status)
        status = loaded->model->ops->adopt(loaded->model, &loaded->file.config, loaded->file.bulk,
                                           loaded->file.bulk_n, &layout, err);
    if (!status && hm_layout_n(&layout) != hm_layout_n(&loaded->file.layout))
        status = hm_fail(err, HM_EINPUT, "%s holds another workload", path);
    return status;
}

/* Of one class: how many of those taken for it were, how many of it were found, and both in one. */
struct class_figures {
    uint64_t n;
    double precision, recall, f1;
};

static struct class_figures figures_of(uint64_t table[HM_CLASSES_MAX][HM_CLASSES_MAX], unsigned n,
                                       unsigned which)
{
    uint64_t right = table[which][which], taken = 0;
    struct class_figures f = {0};
    for (unsigned i = 0; i < n; i++) {
        f.n += table[which][i];
        taken += table[i][which];
    }
    f.precision = taken ? (double)right / (double)taken : 0;
    f.recall = f.n ? (double)right / (double)f.n : 0;
    f.f1 = right ? 2 * f.precision * f.recall / (f.precision + f.recall) : 0;
    return f;
}

static json_t *report_json(uint64_t table[HM_CLASSES_MAX][HM_CLASSES_MAX], unsigned n)
{
    json_t *classes = json_array(), *rows = json_array();
    for (unsigned i = 0; i < n; i++) {
        struct class_figures f = figures_of(table, n, i);
        json_array_append_new(classes, json_pack("{s:i, s:I, s:f, s:f, s:f}", "class", (int)i, "n",
                                                 (json_int_t)f.n, "precision", f.precision,
                                                 "recall", f.recall, "f1", f.f1));
        json_t *row = json_array();
        for (unsigned k = 0; k < n; k++)
            json_array_append_new(row, json_integer((json_int_t)table[i][k]));
        json_array_append_new(rows, row);
    }
    return json_pack("{s:o, s:o}", "classes", classes, "confusion", rows);
}

static void print_report(uint64_t table[HM_CLASSES_MAX][HM_CLASSES_MAX], unsigned n)
{
    printf("class  precision  recall      f1   taken for");
    for (unsigned i = 0; i < n; i++)
        printf(" %6u", i);
    printf("\n");
    for (unsigned i = 0; i < n; i++) {
        struct class_figures f = figures_of(table, n, i);
        printf("%5u     %6.4f  %6.4f  %6.4f            ", i, f.precision, f.recall, f.f1);
        for (unsigned k = 0; k < n; k++)
            printf(" %6llu", (unsigned long long)table[i][k]);
        printf("\n");
    }
}

static void print_score(const char *set, const struct hm_score *score,
                        uint64_t table[HM_CLASSES_MAX][HM_CLASSES_MAX], unsigned n_classes,
                        int json)
{
    if (!score->n)
        return;
    if (!json) {
        printf("%s: accuracy %.4f %% (%llu of %llu), cost %.6f, loss %.6f\n", set,
               100 * score->accuracy, (unsigned long long)(score->accuracy * (double)score->n + .5),
               (unsigned long long)score->n, score->cost, score->loss);
        if (n_classes)
            print_report(table, n_classes);
        return;
    }
    json_t *object = json_pack("{s:s, s:f, s:f, s:f, s:I}", "set", set, "accuracy", score->accuracy,
                               "cost", score->cost, "loss", score->loss, "n", (json_int_t)score->n);
    if (n_classes)
        json_object_set_new(object, "report", report_json(table, n_classes));
    json_dumpf(object, stdout, JSON_COMPACT);
    json_decref(object);
    printf("\n");
}

int cmd_eval(struct cli *cli)
{
    struct hm_err err = {""};
    struct loaded loaded = {0};
    struct screen screen = screen_open(cli->quiet);
    struct hm_progress progress = {screen_progress, &screen};
    const struct hm_train_options *train = &cli->node.train;
    if (!train->n_test && !train->n_train && !train->data) {
        fprintf(stderr, "hogmesh eval: nothing to score on; give --test FILE or --data DIR\n");
        return EXIT_USAGE;
    }
    enum hm_status status = load(cli, &progress, &loaded, &err);
    static const char *const name[] = {"train", "test"};
    for (int set = HM_TRAIN_SET; !status && set <= HM_TEST_SET; set++) {
        struct hm_score score;
        status = loaded.model->ops->score(loaded.model, loaded.file.b, loaded.file.steps,
                                          (enum hm_set)set, cli->node.train.threads, &score, &err);
        uint64_t table[HM_CLASSES_MAX][HM_CLASSES_MAX] = {{0}};
        unsigned n = 0;
        if (!status && score.n && loaded.model->ops->confusion)
            n = loaded.model->ops->confusion(loaded.model, loaded.file.b, (enum hm_set)set, table);
        if (!status)
            print_score(name[set], &score, table, n, cli->json);
    }
    unload(&loaded);
    return status ? cli_fail(status, &err) : EXIT_DONE;
}

int cmd_export(struct cli *cli)
{
    struct hm_err err = {""};
    struct loaded loaded = {0};
    if (!cli->to) {
        fprintf(stderr, "hogmesh export: --to FILE is missing\n");
        return EXIT_USAGE;
    }
    enum hm_status status = load(cli, NULL, &loaded, &err);
    if (!status)
        status =
            loaded.model->ops->save(loaded.model, loaded.file.b, loaded.file.steps, cli->to, &err);
    unload(&loaded);
    return status ? cli_fail(status, &err) : EXIT_DONE;
}

static enum hm_status synth_svm(struct cli *cli, struct screen *screen, struct hm_err *err)
{
    struct hm_progress progress = {screen_progress, screen};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct hm_synth_svm synth = {.seed = cli->node.train.seed ? cli->node.train.seed : 1,
                                 .train_rows = cli->rows ? cli->rows : HM_SYNTH_SVM_TRAIN_ROWS,
                                 .test_rows = HM_SYNTH_SVM_TEST_ROWS,
                                 .threads = cli->node.train.threads > 1 ? cli->node.train.threads
                                            : cores > 1                 ? (unsigned)cores
                                                                        : 1};
    enum hm_status status = hm_synth_svm_write(&synth, cli->out, &progress, err);
    screen_frame(screen, "");
    if (!status && !cli->quiet)
        screen_say(screen, "hogmesh: wrote %s/train.svm (%llu rows) and %s/test.svm (%llu rows)",
                   cli->out, (unsigned long long)synth.train_rows, cli->out,
                   (unsigned long long)synth.test_rows);
    return status;
}

static enum hm_status synth_lenet5(struct cli *cli, struct screen *screen, struct hm_err *err)
{
    struct hm_progress progress = {screen_progress, screen};
    if (cli->rows > INT32_MAX / 2)
        return hm_fail(err, HM_EUSAGE, "--rows %llu: at most %d images",
                       (unsigned long long)cli->rows, INT32_MAX / 2);
    struct hm_synth_images synth = {.seed = cli->node.train.seed ? cli->node.train.seed : 1,
                                    .n_train =
                                        cli->rows ? (uint32_t)cli->rows : HM_SYNTH_IMAGES_TRAIN,
                                    .n_test = HM_SYNTH_IMAGES_TEST};
    enum hm_status status = hm_synth_images_write(&synth, cli->out, &progress, err);
    screen_frame(screen, "");
    if (!status && !cli->quiet)
        screen_say(screen, "hogmesh: wrote %u images to train on and %u to test to %s",
                   synth.n_train, synth.n_test, cli->out);
    return status;
}

int cmd_synth(struct cli *cli)
{
    struct hm_err err = {""};
    struct screen screen = screen_open(cli->quiet);
    if (!cli->out) {
        fprintf(stderr, "hogmesh synth: --out DIR is missing\n");
        return EXIT_USAGE;
    }
    enum hm_status status = strcmp(cli->node.workload, "svm") == 0
                                ? synth_svm(cli, &screen, &err)
                                : synth_lenet5(cli, &screen, &err);
    return status ? cli_fail(status, &err) : EXIT_DONE;
}
