/* Which files of a folder are a dataset of images. */
#include "models/images_read.h"
#include "models/input.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), n_end = strlen(end);
    return n >= n_end && strcmp(name + n - n_end, end) == 0;
}

static int may_be_data(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && !ends_with(entry->d_name, ".hmcache") &&
           !ends_with(entry->d_name, ".lock");
}

static int is_test(const char *name)
{
    char lower[256] = "";
    for (size_t i = 0; name[i] && i + 1 < sizeof lower; i++)
        lower[i] = (char)tolower((unsigned char)name[i]);
    return strstr(lower, "test") || strstr(lower, "t10k");
}

/* The same file lies there without the ending of its compression. */
static int is_unpacked(const char *path)
{
    static const char *const end[] = {".gz", ".xz", ".bz2", ".zst"};
    char plain[4096];
    struct stat st;
    for (size_t i = 0; i < sizeof end / sizeof end[0]; i++)
        if (ends_with(path, end[i])) {
            snprintf(plain, sizeof plain, "%.*s", (int)(strlen(path) - strlen(end[i])), path);
            return stat(plain, &st) == 0;
        }
    return 0;
}

static enum hm_status look_at(struct hm_images_folder *folder, const char *path, const char *name,
                              struct hm_err *err)
{
    enum hm_image_format format;
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode) || is_unpacked(path))
        return HM_OK;
    enum hm_status status = hm_image_recognise(path, &format, err);
    if (status || format == HM_IMAGE_NONE)
        return status;
    unsigned *n = is_test(name) ? &folder->n_test : &folder->n_train;
    if (*n == HM_IMAGES_FILES_MAX)
        return hm_fail(err, HM_EINPUT, "%s: more than %d files of images beside it", path,
                       HM_IMAGES_FILES_MAX);
    char *copy = strdup(path);
    if (!copy)
        return hm_fail(err, HM_ENOMEM, "out of memory");
    (is_test(name) ? folder->test : folder->train)[(*n)++] = copy;
    return HM_OK;
}

enum hm_status hm_images_find(struct hm_images_folder *folder, const char *dir, struct hm_err *err)
{
    char path[4096];
    struct dirent **entry;
    enum hm_status status = HM_OK;
    *folder = (struct hm_images_folder){0};
    int n = scandir(dir, &entry, may_be_data, alphasort);
    if (n < 0)
        return hm_input_hint(hm_fail(err, HM_EIO, "%s: %s", dir, strerror(errno)), dir, err);
    for (int i = 0; i < n; i++) {
        if (!status &&
            (size_t)snprintf(path, sizeof path, "%s/%s", dir, entry[i]->d_name) >= sizeof path)
            status = hm_fail(err, HM_EUSAGE, "%.40s...: the path is too long", dir);
        if (!status)
            status = look_at(folder, path, entry[i]->d_name, err);
        free(entry[i]);
    }
    free(entry);
    if (!status && !folder->n_train && !folder->n_test)
        status = hm_fail(err, HM_EINPUT,
                         "%s: no images in this folder; IDX files (MNIST, Fashion-MNIST) or "
                         "CIFAR-10 binary batches (*.bin) are expected, plain or compressed; "
                         "tools/get-data fashion-mnist and tools/get-data cifar10 fetch them",
                         dir);
    if (status)
        hm_images_folder_fini(folder);
    return status;
}

void hm_images_folder_fini(struct hm_images_folder *folder)
{
    for (unsigned i = 0; i < folder->n_train; i++)
        free(folder->train[i]);
    for (unsigned i = 0; i < folder->n_test; i++)
        free(folder->test[i]);
    *folder = (struct hm_images_folder){0};
}
