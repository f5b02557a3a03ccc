#include "models/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES_MAX = 4096 };

enum hm_status hm_folder_make(const char *dir, struct hm_err *err)
{
    char path[PATH_BYTES_MAX];
    struct stat st;
    if ((size_t)snprintf(path, sizeof path, "%s", dir) >= sizeof path - 64)
        return hm_fail(err, HM_EUSAGE, "%.40s...: the path is too long", dir);
    for (char *p = path + 1; (p = strchr(p, '/')); *p++ = '/') {
        *p = 0;
        mkdir(path, 0777);
    }
    if (mkdir(path, 0777) == 0 || (stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
        return HM_OK;
    return hm_fail(err, HM_EIO, "%s: %s", dir, strerror(errno));
}

enum hm_status hm_whole_file(const char *path,
                             enum hm_status (*write)(void *context, int fd, struct hm_err *err),
                             void *context, struct hm_err *err)
{
    char draft[PATH_BYTES_MAX + 16];
    if ((size_t)snprintf(draft, sizeof draft, "%s.tmp.XXXXXX", path) >= sizeof draft)
        return hm_fail(err, HM_EUSAGE, "%.40s...: the path is too long", path);
    int fd = mkostemp(draft, O_CLOEXEC);
    if (fd < 0)
        return hm_fail(err, HM_EIO, "%s: %s", draft, strerror(errno));
    enum hm_status status = write(context, fd, err);
    if (status == HM_OK && fchmod(fd, 0644) != 0)
        status = hm_fail(err, HM_EIO, "%s", strerror(errno));
    if (close(fd) != 0 && status == HM_OK)
        status = hm_fail(err, HM_EIO, "%s", strerror(errno));
    if (status == HM_OK && rename(draft, path) != 0)
        status = hm_fail(err, HM_EIO, "%s", strerror(errno));
    if (status != HM_OK)
        unlink(draft);
    return status == HM_OK ? HM_OK : hm_context(err, status, "write %s", path);
}

enum hm_status hm_file_put(int fd, const void *bytes, size_t n, struct hm_err *err)
{
    for (const char *from = bytes; n;) {
        ssize_t done = write(fd, from, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return hm_fail(err, HM_EIO, "%s", done ? strerror(errno) : "nothing could be written");
        from += done;
        n -= (size_t)done;
    }
    return HM_OK;
}
