/* What every call that meets the outside world returns, and the text that explains it.
 *
 * Bugs are asserted. Files, peers and memory can fail: such a function returns an hm_status and,
 * where it is not HM_OK, has written one sentence into the caller's hm_err that says what was met,
 * where, what was expected and what to do. Callers add context as the error rises: "load train.gz:
 * line 3: ...".
 */
#ifndef HM_SPARSE_STATUS_H
#define HM_SPARSE_STATUS_H

#include <stdarg.h>

enum hm_status {
    HM_OK = 0,
    HM_EIO,       /* a file or socket could not be read or written */
    HM_EINPUT,    /* the input was read and is wrong */
    HM_ECORRUPT,  /* bytes that fail their own check (digest, checksum, length) */
    HM_ENOMEM,    /* memory, or a stated limit, is exhausted */
    HM_EUSAGE,    /* the caller asked for something contradictory */
    HM_EREFUSED,  /* a peer refused us, or we refused it */
    HM_ETIMEOUT,  /* something expected did not happen in time */
    HM_ESTOPPED,  /* interrupted by the user */
    HM_EDIVERGED, /* training went wrong here: weights that are no numbers, or leap out of range */
};

struct hm_err {
    char text[1024]; /* one sentence, NUL-terminated; empty as long as nothing failed */
};

/* Writes the formatted sentence to err (may be NULL) and returns status. */
enum hm_status hm_fail(struct hm_err *err, enum hm_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts the formatted text and ": " before what err (may be NULL) already says; returns status
 * unchanged. */
enum hm_status hm_context(struct hm_err *err, enum hm_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The status in one or two lower-case words ("bad input"); never NULL. */
const char *hm_status_name(enum hm_status status);

#endif
