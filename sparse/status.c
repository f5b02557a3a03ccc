#include "sparse/status.h"

#include <stdio.h>
#include <string.h>

enum hm_status hm_fail(struct hm_err *err, enum hm_status status, const char *format, ...)
{
    if (err) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof err->text, format, args);
        va_end(args);
    }
    return status;
}

enum hm_status hm_context(struct hm_err *err, enum hm_status status, const char *format, ...)
{
    if (!err)
        return status;
    char said[sizeof err->text];
    snprintf(said, sizeof said, "%s", err->text);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    size_t at = n < 0 ? 0 : (size_t)n < sizeof err->text ? (size_t)n : sizeof err->text - 1;
    size_t room = sizeof err->text - at;
    snprintf(err->text + at, room, ": %.*s", (int)room - 3 > 0 ? (int)room - 3 : 0, said);
    return status;
}

const char *hm_status_name(enum hm_status status)
{
    switch (status) {
    case HM_OK:
        return "ok";
    case HM_EIO:
        return "input/output error";
    case HM_EINPUT:
        return "bad input";
    case HM_ECORRUPT:
        return "corrupt";
    case HM_ENOMEM:
        return "limit reached";
    case HM_EUSAGE:
        return "wrong usage";
    case HM_EREFUSED:
        return "refused";
    case HM_ETIMEOUT:
        return "timed out";
    case HM_ESTOPPED:
        return "stopped";
    case HM_EDIVERGED:
        return "diverged";
    }
    return "unknown";
}
