/* hogmesh eval, export and synth: what is done with models and data outside of a run. */
#include "tools/class_report.h"
#include "tools/cli.h"
#include "tools/screen.h"

#include "models/npy.h"
#include "models/synth_images.h"
#include "models/synth_svm.h"
#include "models/synth_text.h"

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

/* Takes the report, which may be NULL. */
static void print_score(const char *set, const struct hm_score *score, json_t *report, int json)
{
    if (!json) {
        printf("%s: accuracy %.4f %% (%llu of %llu), cost %.6f, loss %.6f\n", set,
               100 * score->accuracy, (unsigned long long)(score->accuracy * (double)score->n + .5),
               (unsigned long long)score->n, score->cost, score->loss);
        if (report)
            class_report_print(report, stdout);
        json_decref(report);
        return;
    }
    json_t *object = json_pack("{s:s, s:f, s:f, s:f, s:I}", "set", set, "accuracy", score->accuracy,
                               "cost", score->cost, "loss", score->loss, "n", (json_int_t)score->n);
    if (report)
        json_object_set_new(object, "report", report);
    json_dumpf(object, stdout, JSON_COMPACT);
    json_decref(object);
    printf("\n");
}

/* Scores B as one row of --weights has it, on the test set if there is one. */
static enum hm_status score_row(const struct cli *cli, struct loaded *loaded, uint64_t row,
                                const float *w, struct hm_err *err)
{
    struct hm_model *model = loaded->model;
    enum hm_set set = model->n_test ? HM_TEST_SET : HM_TRAIN_SET;
    struct hm_score score;
    enum hm_status status =
        model->ops->unweights(model, w, loaded->file.steps, loaded->file.b, err);
    if (status)
        return hm_context(err, status, "%s: row %llu", cli->weights, (unsigned long long)row);
    status = model->ops->score(model, loaded->file.b, loaded->file.steps, set,
                               cli->node.train.threads, &score, err);
    if (!status)
        printf("{\"row\":%llu,\"set\":\"%s\",\"loss\":%.9g,\"accuracy\":%.9g,\"n\":%llu}\n",
               (unsigned long long)row, set == HM_TEST_SET ? "test" : "train", score.loss,
               score.accuracy, (unsigned long long)score.n);
    return status;
}

/* A line for each row of an array of weights, as trajectories and exports have them: for landscapes
 * of the loss. */
static enum hm_status score_rows(struct cli *cli, struct screen *screen, struct loaded *loaded,
                                 struct hm_err *err)
{
    struct hm_npy_file file;
    struct hm_parts parts;
    struct hm_progress progress = {screen_progress, screen};
    enum hm_status status = hm_npy_open(&file, cli->weights, err);
    if (status)
        return status;
    loaded->model->ops->parts(loaded->model, &parts);
    size_t n = hm_parts_numbers(&parts);
    float *w = malloc(n * sizeof *w);
    if (file.npy.n_columns != n)
        status = hm_fail(err, HM_EINPUT, "%s: rows of %llu numbers; the model has %zu weights",
                         cli->weights, (unsigned long long)file.npy.n_columns, n);
    else if (!w)
        status = hm_fail(err, HM_ENOMEM, "no memory for %zu weights", n);
    for (uint64_t row = 0; !status && row < file.npy.n_rows; row++) {
        status = hm_npy_next(&file, w, err);
        status = status ? status : score_row(cli, loaded, row, w, err);
        if (hm_report(&progress, "score weights", (double)(row + 1), (double)file.npy.n_rows,
                      "rows"))
            status = hm_fail(err, HM_ESTOPPED, "stopped");
    }
    screen_frame(screen, "");
    free(w);
    hm_npy_close(&file);
    return status;
}

int cmd_eval(struct cli *cli)
{
    struct hm_err err = {""};
    struct loaded loaded = {0};
    struct screen screen = screen_open(cli->quiet);
    struct hm_progress progress = {screen_progress, &screen};
    const struct hm_train_options *train = &cli->node.train;
    int words = strcmp(cli->node.workload, "word2vec") == 0;
    if (words && (cli->words.analogies || cli->words.pairs.n))
        return cmd_eval_words(cli);
    if ((!train->n_test && !train->n_train && !train->data) ||
        !hm_workload_find(cli->node.workload)) {
        fprintf(stderr, "hogmesh eval: nothing to score on; give %s\n",
                words ? "--analogies FILE, --pairs FILE or --test FILE"
                      : "--test FILE or --data DIR");
        return EXIT_USAGE;
    }
    enum hm_status status = load(cli, &progress, &loaded, &err);
    if (cli->weights) {
        status = status ? status : score_rows(cli, &screen, &loaded, &err);
        unload(&loaded);
        return status ? cli_fail(status, &err) : EXIT_DONE;
    }
    static const char *const name[] = {"train", "test"};
    for (int set = HM_TRAIN_SET; !status && set <= HM_TEST_SET; set++) {
        struct hm_score score;
        status = loaded.model->ops->score(loaded.model, loaded.file.b, loaded.file.steps,
                                          (enum hm_set)set, cli->node.train.threads, &score, &err);
        uint64_t table[HM_CLASSES_MAX][HM_CLASSES_MAX] = {{0}};
        unsigned n = 0;
        if (!status && score.n && loaded.model->ops->confusion)
            n = loaded.model->ops->confusion(loaded.model, loaded.file.b, (enum hm_set)set, table);
        if (!status && score.n)
            print_score(name[set], &score, n ? class_report(table, n) : NULL, cli->json);
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

static enum hm_status synth_text(struct cli *cli, struct screen *screen, struct hm_err *err)
{
    struct hm_progress progress = {screen_progress, screen};
    struct hm_synth_text synth = {.seed = cli->node.train.seed ? cli->node.train.seed : 1,
                                  .n_lines = cli->rows ? cli->rows : HM_SYNTH_TEXT_LINES};
    enum hm_status status = hm_synth_text_write(&synth, cli->out, &progress, err);
    screen_frame(screen, "");
    if (!status && !cli->quiet)
        screen_say(
            screen,
            "hogmesh: wrote %s/train.txt (%llu lines), questions.txt and pairs.txt beside it",
            cli->out, (unsigned long long)synth.n_lines);
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
    enum hm_status status = strcmp(cli->node.workload, "svm") == 0 ? synth_svm(cli, &screen, &err)
                            : strcmp(cli->node.workload, "lenet5") == 0
                                ? synth_lenet5(cli, &screen, &err)
                                : synth_text(cli, &screen, &err);
    return status ? cli_fail(status, &err) : EXIT_DONE;
}
