/* Sets of images: what is read is what the files say, what is wrong is refused in words that name
 * file, field and what was expected, and the cache is used exactly while it is current. */
#include "tests/temp_folder.h"

#include "models/images.h"
#include "models/synth_images.h"
#include "sparse/rng.h"

#include <zlib.h>

enum { RECORD = 3073 };

static void put_u32(uint8_t *to, uint32_t x)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(x >> (24 - 8 * i));
}

/* An IDX file of n images of h x w, with bytes that tell which is which. */
static const char *idx_pixels(const char *name, uint32_t n, uint32_t h, uint32_t w)
{
    size_t bytes = 16 + (size_t)n * h * w;
    uint8_t *file = malloc(bytes);
    assert_non_null(file);
    put_u32(file, 0x0803);
    put_u32(file + 4, n);
    put_u32(file + 8, h);
    put_u32(file + 12, w);
    for (size_t i = 16; i < bytes; i++)
        file[i] = (uint8_t)hm_mix(i);
    const char *path = temp_write(name, file, bytes);
    free(file);
    return path;
}

static const char *idx_labels(const char *name, uint32_t n)
{
    uint8_t *file = malloc(8 + (size_t)n);
    assert_non_null(file);
    put_u32(file, 0x0801);
    put_u32(file + 4, n);
    for (uint32_t i = 0; i < n; i++)
        file[8 + i] = (uint8_t)(i % 10);
    const char *path = temp_write(name, file, 8 + (size_t)n);
    free(file);
    return path;
}

static const char *cifar(const char *name, uint32_t n, uint8_t first_label)
{
    uint8_t *file = malloc((size_t)n * RECORD);
    assert_non_null(file);
    for (size_t i = 0; i < (size_t)n * RECORD; i++)
        file[i] = i % RECORD ? (uint8_t)hm_mix(i) : (uint8_t)((first_label + i / RECORD) % 10);
    const char *path = temp_write(name, file, (size_t)n * RECORD);
    free(file);
    return path;
}

static struct hm_images opened(const char *const *file, unsigned n, int no_cache)
{
    struct hm_images images;
    struct hm_err err = {""};
    if (hm_images_open(&images, file, n, no_cache, NULL, &err))
        fail_msg("%s", err.text);
    return images;
}

/* Refused, with every one of the words in the message. */
static void refused(const char *const *file, unsigned n, const char *a, const char *b,
                    const char *c)
{
    struct hm_images images;
    struct hm_err err = {""};
    assert_int_equal(hm_images_open(&images, file, n, 1, NULL, &err), HM_EINPUT);
    assert_null(images.map);
    if (!strstr(err.text, a) || !strstr(err.text, b) || !strstr(err.text, c))
        fail_msg("\"%s\" says nothing of '%s', '%s' or '%s'", err.text, a, b, c);
}

static void refused_one(const char *path, const char *b, const char *c)
{
    const char *slash = strrchr(path, '/');
    refused(&path, 1, slash + 1, b, c);
}

/* ---- reading ---- */

static void test_reads_idx(void **state)
{
    (void)state;
    const char *file[] = {idx_labels("labels", 7), idx_pixels("images", 7, 5, 3)};
    struct hm_images images = opened(file, 2, 1);
    assert_int_equal(images.n, 7);
    assert_int_equal(images.channels, 1);
    assert_int_equal(images.height, 5);
    assert_int_equal(images.width, 3);
    for (unsigned i = 0; i < 7; i++)
        assert_int_equal(images.label[i], i % 10);
    for (unsigned i = 0; i < 7 * 15; i++)
        assert_int_equal(images.pixel[i], (uint8_t)hm_mix(16 + i));
    hm_images_close(&images);
}

static void test_reads_cifar_batches_in_order(void **state)
{
    (void)state;
    const char *file[] = {cifar("data_batch_1.bin", 3, 4), cifar("data_batch_2.bin", 2, 9)};
    static const uint8_t label[] = {4, 5, 6, 9, 0};
    struct hm_images images = opened(file, 2, 1);
    assert_int_equal(images.n, 5);
    assert_int_equal(images.channels, 3);
    assert_int_equal(images.height * images.width, 1024);
    assert_memory_equal(images.label, label, 5);
    for (unsigned i = 0; i < 5; i++)
        for (unsigned k = 0; k < 3072; k++)
            assert_int_equal(images.pixel[i * 3072 + k],
                             (uint8_t)hm_mix((i < 3 ? i : i - 3) * RECORD + 1 + k));
    hm_images_close(&images);
}

static void test_several_pairs_are_one_set(void **state)
{
    (void)state;
    const char *file[] = {idx_pixels("images1", 4, 2, 2), idx_pixels("images2", 20, 2, 2),
                          idx_labels("labels1", 4), idx_labels("labels2", 20)};
    struct hm_images images = opened(file, 4, 1);
    assert_int_equal(images.n, 24);
    assert_int_equal(images.label[4], 0);
    assert_int_equal(images.label[4 + 13], 3);
    assert_int_equal(images.pixel[16], (uint8_t)hm_mix(16));
    hm_images_close(&images);
}

static const char *gzip(const char *from, const char *name)
{
    size_t n;
    uint8_t *bytes = temp_read(from, &n);
    const char *path = temp_path(name);
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, bytes, (unsigned)n), n);
    assert_int_equal(gzclose(file), Z_OK);
    free(bytes);
    return path;
}

static void test_reads_gzip(void **state)
{
    (void)state;
    const char *plain[] = {idx_pixels("p", 300, 28, 28), idx_labels("l", 300)};
    const char *packed[] = {gzip(plain[0], "p.gz"), gzip(plain[1], "l.gz")};
    struct hm_images a = opened(plain, 2, 1), b = opened(packed, 2, 1);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.pixel, b.pixel, 300 * 784);
    assert_memory_equal(a.label, b.label, 300);
    hm_images_close(&a);
    hm_images_close(&b);
}

/* ---- refusals ---- */

/* A file of `n` bytes of the good one, with one byte changed where `at` is not negative. */
static const char *spoilt(const char *good, const char *name, size_t n, long at, uint8_t byte)
{
    size_t n_good;
    uint8_t *bytes = temp_read(good, &n_good);
    bytes = realloc(bytes, n_good + n + 1);
    assert_non_null(bytes);
    memset(bytes + n_good, 7, n);
    if (at >= 0)
        bytes[at] = byte;
    const char *path = temp_write(name, bytes, n);
    free(bytes);
    return path;
}

static void test_refuses_bad_idx(void **state)
{
    (void)state;
    const char *images = idx_pixels("good", 3, 4, 5), *labels = idx_labels("good-labels", 30);
    size_t whole = 16 + 60;
    refused_one(spoilt(images, "type", whole, 2, 0x0D), "element type 0x0d", "unsigned bytes");
    refused_one(spoilt(images, "dims", whole, 3, 2), "2 dimensions", "3 (images) or 1 (labels)");
    refused_one(spoilt(images, "head", 11, -1, 0), "cut off after 11 bytes", "16 are expected");
    refused_one(spoilt(images, "none", whole, 7, 0), "0 images", "1 to 2147483647");
    refused_one(spoilt(images, "many", whole, 4, 0xFF), "4278190083 images", "1 to 2147483647");
    refused_one(spoilt(images, "flat", whole, 11, 0), "images of 0 x 5", "1 to 4096");
    refused_one(spoilt(images, "wide", whole, 14, 0x10), "images of 4 x 4101", "1 to 4096");
    refused_one(spoilt(images, "short", whole - 1, -1, 0), "ends after 2 of the 3 images",
                "header");
    refused_one(spoilt(images, "long", whole + 1, -1, 0), "goes on after the 3 images", "header");
    refused_one(spoilt(labels, "short-l", 37, -1, 0), "ends after 29 of the 30 labels", "header");
    refused_one(spoilt(labels, "long-l", 39, -1, 0), "goes on after the 30 labels", "header");
    refused_one(spoilt(labels, "label", 38, 8 + 11, 10), "label 12 is 10", "0 to 9");
    refused_one(idx_labels("only", 2), "labels, but no file of images", "");
    refused_one(images, "images, but no file of labels", "");
    refused_one(temp_text("text", "hello"), "begins with 0x68", "IDX file");
    refused_one(temp_text("empty", ""), "is empty", "");
}

/* A header that announces gigabytes takes no memory for them. */
static void test_announced_size_is_not_believed(void **state)
{
    (void)state;
    const char *images = spoilt(idx_pixels("good", 3, 4, 5), "big", 76, 4, 0x7F);
    refused_one(images, "ends after 3 of the 2130706435 images", "");
}

static void test_short_label_file_with_trailing_bytes(void **state)
{
    (void)state;
    const char *labels = idx_labels("good", 2);
    refused_one(spoilt(labels, "long", 12, -1, 0), "goes on after the 2 labels", "");
    const char *file[] = {labels, idx_pixels("images", 2, 3, 3)};
    struct hm_images images = opened(file, 2, 1);
    assert_int_equal(images.label[1], 1);
    hm_images_close(&images);
}

static void test_refuses_bad_cifar(void **state)
{
    (void)state;
    const char *good = cifar("good.bin", 2, 3);
    refused_one(spoilt(good, "short.bin", RECORD + 100, -1, 0), "record 2", "100 of 3073 bytes");
    refused_one(spoilt(good, "label.bin", 2 * RECORD, RECORD, 11), "record 2", "the label is 11");
}

static void test_refuses_what_does_not_fit_together(void **state)
{
    (void)state;
    const char *file[] = {idx_pixels("three", 3, 4, 5), idx_labels("four", 4), NULL};
    refused(file, 2, "3 images", "4 labels", "four");
    file[2] = idx_pixels("wide", 1, 4, 6);
    refused(file, 3, "wide", "1 x 4 x 6", "1 x 4 x 5");
    file[2] = cifar("batch.bin", 1, 0);
    refused(file, 3, "batch.bin", "3 x 32 x 32", "1 x 4 x 5");
}

static void test_refuses_what_is_not_there(void **state)
{
    (void)state;
    const char *file = temp_path("missing");
    struct hm_images images;
    struct hm_err err = {""};
    assert_int_equal(hm_images_open(&images, &file, 1, 0, NULL, &err), HM_EIO);
    assert_non_null(strstr(err.text, "missing"));
}

/* ---- the cache ---- */

static void test_cache_is_used_while_current(void **state)
{
    (void)state;
    const char *file[] = {idx_pixels("p", 50, 28, 28), idx_labels("l", 50)};
    struct hm_images first = opened(file, 2, 0), again, other;
    assert_int_equal(temp_count(".hmcache"), 1);
    assert_int_equal(temp_count(".lock"), 0);
    /* Same size, same time: only a cache that is used still shows the old pixels. */
    struct stat st;
    assert_int_equal(stat(file[0], &st), 0);
    spoilt(file[0], "p", 16 + 50 * 784, 16, 255);
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, file[0], times, 0), 0);
    again = opened(file, 2, 0);
    assert_memory_equal(first.pixel, again.pixel, 50 * 784);
    times[1].tv_sec -= 10;
    assert_int_equal(utimensat(AT_FDCWD, file[0], times, 0), 0);
    other = opened(file, 2, 0);
    assert_int_equal(other.pixel[0], 255);
    hm_images_close(&first);
    hm_images_close(&again);
    hm_images_close(&other);
}

static void test_damaged_cache_is_built_again(void **state)
{
    (void)state;
    const char *file[] = {idx_pixels("p", 50, 28, 28), idx_labels("l", 50)};
    struct hm_images good = opened(file, 2, 0), again;
    char name[600] = "";
    DIR *dir = opendir(temp_folder);
    for (struct dirent *e; (e = readdir(dir));)
        if (strstr(e->d_name, ".hmcache"))
            snprintf(name, sizeof name, "%s/%s", temp_folder, e->d_name);
    closedir(dir);
    static const long at[] = {0, 8, 16, 33, 50, 60, 4096 + 777, 4096 + 50 * 784 + 4095};
    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        int fd = open(name, O_RDWR | O_CLOEXEC);
        struct stat st;
        uint8_t byte;
        assert_true(fd >= 0 && fstat(fd, &st) == 0);
        long where = at[i] < st.st_size ? at[i] : st.st_size - 1;
        assert_int_equal(pread(fd, &byte, 1, where), 1);
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, where), 1);
        close(fd);
        again = opened(file, 2, 0);
        assert_memory_equal(good.label, again.label, 50);
        assert_memory_equal(again.pixel, good.pixel, 50 * 784);
        hm_images_close(&again);
        hm_images_close(&good);
        good = opened(file, 2, 1);
    }
    hm_images_close(&good);
}

/* ---- folders ---- */

static void find(struct hm_images_folder *folder)
{
    struct hm_err err = {""};
    if (hm_images_find(folder, temp_folder, &err))
        fail_msg("%s", err.text);
}

static void test_finds_fashion_mnist(void **state)
{
    (void)state;
    struct hm_images_folder folder;
    gzip(idx_pixels("train-images-idx3-ubyte", 3, 2, 2), "train-images-idx3-ubyte.gz");
    idx_labels("train-labels-idx1-ubyte", 3);
    gzip(idx_pixels("t10k", 2, 2, 2), "t10k-images-idx3-ubyte.gz");
    unlink(temp_path("t10k"));
    idx_labels("t10k-labels-idx1-ubyte", 2);
    temp_text("README.md", "ten classes");
    temp_text("LICENSE.gz", "not really compressed");
    find(&folder);
    assert_int_equal(folder.n_train, 2);
    assert_int_equal(folder.n_test, 2);
    struct hm_images train = opened((const char *const *)folder.train, folder.n_train, 0);
    struct hm_images test = opened((const char *const *)folder.test, folder.n_test, 0);
    assert_int_equal(train.n, 3);
    assert_int_equal(test.n, 2);
    hm_images_close(&train);
    hm_images_close(&test);
    hm_images_folder_fini(&folder);
    find(&folder); /* the caches that lie there now are not taken for data */
    assert_int_equal(folder.n_train + folder.n_test, 4);
    hm_images_folder_fini(&folder);
}

static void test_finds_cifar(void **state)
{
    (void)state;
    struct hm_images_folder folder;
    cifar("data_batch_2.bin", 1, 2);
    cifar("data_batch_1.bin", 1, 1);
    cifar("test_batch.bin", 1, 3);
    temp_text("batches.meta.txt", "airplane\n");
    temp_text("readme.html", "<html>");
    find(&folder);
    assert_int_equal(folder.n_train, 2);
    assert_int_equal(folder.n_test, 1);
    assert_non_null(strstr(folder.train[0], "data_batch_1.bin"));
    hm_images_folder_fini(&folder);
}

static void test_folder_without_images(void **state)
{
    (void)state;
    struct hm_images_folder folder;
    struct hm_err err = {""};
    temp_text("notes.txt", "nothing");
    assert_int_equal(hm_images_find(&folder, temp_folder, &err), HM_EINPUT);
    assert_non_null(strstr(err.text, "no images in this folder"));
    assert_int_equal(hm_images_find(&folder, temp_path("nowhere"), &err), HM_EIO);
}

static void test_truncated_data_in_a_folder_is_no_stranger(void **state)
{
    (void)state;
    struct hm_images_folder folder;
    struct hm_err err = {""};
    const char *packed = gzip(idx_pixels("p", 3, 28, 28), "train-images-idx3-ubyte.gz");
    unlink(temp_path("p"));
    assert_int_equal(truncate(packed, 6), 0);
    assert_int_not_equal(hm_images_find(&folder, temp_folder, &err), HM_OK);
    assert_non_null(strstr(err.text, "train-images-idx3-ubyte.gz"));
}

/* ---- made out of nothing ---- */

static uint64_t fnv(const uint8_t *bytes, size_t n)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ bytes[i]) * 0x100000001B3u;
    return hash;
}

static struct hm_images synthetic(uint64_t seed, uint32_t n_train, uint32_t n_test, int test)
{
    struct hm_synth_images synth = {seed, n_train, n_test};
    struct hm_images_folder folder;
    struct hm_err err = {""};
    if (hm_synth_images_write(&synth, temp_folder, NULL, &err))
        fail_msg("%s", err.text);
    find(&folder);
    struct hm_images images =
        opened((const char *const *)(test ? folder.test : folder.train), 2, 1);
    hm_images_folder_fini(&folder);
    return images;
}

/* These numbers hold for every machine and compiler; whoever changes them changes the dataset. */
static void test_same_bytes_everywhere(void **state)
{
    (void)state;
    struct hm_images images = synthetic(1, 500, 100, 0);
    uint64_t pixels = fnv(images.pixel, 500 * 784), labels = fnv(images.label, 500);
    if (pixels != 0x44e17fae8e61ff80u || labels != 0x8a14088563df6ec1u)
        fail_msg("pixels %016llx, labels %016llx", (unsigned long long)pixels,
                 (unsigned long long)labels);
    hm_images_close(&images);
}

static void test_test_images_follow_those_to_train_on(void **state)
{
    (void)state;
    struct hm_images all = synthetic(3, 300, 1, 0), test = synthetic(3, 200, 100, 1);
    assert_memory_equal(all.pixel + 200 * 784, test.pixel, 100 * 784);
    assert_memory_equal(all.label + 200, test.label, 100);
    hm_images_close(&all);
    hm_images_close(&test);
}

static void test_all_classes_occur(void **state)
{
    (void)state;
    unsigned n[HM_CLASSES] = {0};
    struct hm_images images = synthetic(2, 2000, 1, 0);
    for (uint32_t i = 0; i < images.n; i++)
        n[images.label[i]]++;
    for (int c = 0; c < HM_CLASSES; c++)
        assert_in_range(n[c], 150, 250);
    hm_images_close(&images);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, temp_setup, temp_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_reads_idx),
        CASE(test_reads_cifar_batches_in_order),
        CASE(test_several_pairs_are_one_set),
        CASE(test_reads_gzip),
        CASE(test_refuses_bad_idx),
        CASE(test_announced_size_is_not_believed),
        CASE(test_short_label_file_with_trailing_bytes),
        CASE(test_refuses_bad_cifar),
        CASE(test_refuses_what_does_not_fit_together),
        CASE(test_refuses_what_is_not_there),
        CASE(test_cache_is_used_while_current),
        CASE(test_damaged_cache_is_built_again),
        CASE(test_finds_fashion_mnist),
        CASE(test_finds_cifar),
        CASE(test_folder_without_images),
        CASE(test_truncated_data_in_a_folder_is_no_stranger),
        CASE(test_same_bytes_everywhere),
        CASE(test_test_images_follow_those_to_train_on),
        CASE(test_all_classes_occur),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
