#include "node/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum hm_status cannot(const char *path, struct hm_err *err)
{
    return hm_fail(err, HM_EIO, "cannot read %s: %s", path, strerror(errno));
}

static enum hm_status read_fd(int fd, const char *path, size_t most, char **text, size_t *n,
                              struct hm_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return cannot(path, err);
    if (!S_ISREG(st.st_mode))
        return hm_fail(err, HM_EINPUT, "%s is no regular file", path);
    if ((size_t)st.st_size > most)
        return hm_fail(err, HM_EINPUT, "%s has %lld bytes; expected at most %zu", path,
                       (long long)st.st_size, most);
    if (!(*text = malloc((size_t)st.st_size + 1)))
        return hm_fail(err, HM_ENOMEM, "no memory to read %s", path);
    for (ssize_t got = 1; got && *n<(size_t)st.st_size; *n += got> 0 ? (size_t)got : 0)
        if ((got = read(fd, *text + *n, (size_t)st.st_size - *n)) < 0 && errno != EINTR)
            return cannot(path, err);
    (*text)[*n] = 0;
    return HM_OK;
}

enum hm_status hm_file_read(const char *path, size_t most, char **text, size_t *n,
                            struct hm_err *err)
{
    *text = NULL;
    *n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return cannot(path, err);
    enum hm_status status = read_fd(fd, path, most, text, n, err);
    close(fd);
    if (status) {
        free(*text);
        *text = NULL;
    }
    return status;
}
