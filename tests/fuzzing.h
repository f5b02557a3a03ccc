/* What the fuzz targets share: reading choices from the input, and handing it over as a file.
 *
 * A target is a file tests/fuzz_NAME.c with one LLVMFuzzerTestOneInput. meson builds it with
 * libFuzzer (-Dfuzz=true), and always into test_fuzz_replay, which runs it over what was found
 * before: tests/golden/fuzz/NAME.hex (the corpus) and tests/golden/crash/NAME (what once failed). So a
 * target keeps nothing between inputs, and an input always does the same.
 */
#ifndef HM_TESTS_FUZZING_H
#define HM_TESTS_FUZZING_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input as a string of choices; behind its end there are zeros. */
struct fuzz {
    const uint8_t *at, *end;
};

static inline struct fuzz fuzz_of(const uint8_t *data, size_t size)
{
    return (struct fuzz){data, size ? data + size : data};
}

static inline size_t fuzz_left(const struct fuzz *fuzz)
{
    return (size_t)(fuzz->end - fuzz->at);
}

static inline uint8_t fuzz_u8(struct fuzz *fuzz)
{
    return fuzz->at == fuzz->end ? 0 : *fuzz->at++;
}

static inline uint64_t fuzz_uint(struct fuzz *fuzz, unsigned n_bytes)
{
    uint64_t x = 0;
    for (unsigned i = 0; i < n_bytes; i++)
        x |= (uint64_t)fuzz_u8(fuzz) << (8 * i);
    return x;
}

/* A number whose size, too, is the input's choice: mostly small, or near a power of two, or near
 * the end of what 32 or 64 bits hold. */
static inline uint64_t fuzz_number(struct fuzz *fuzz)
{
    uint8_t kind = fuzz_u8(fuzz);
    if (kind < 0xc0)
        return kind;
    switch (kind & 7) {
    case 0:
        return fuzz_uint(fuzz, 2);
    case 1:
        return fuzz_uint(fuzz, 4);
    case 2:
        return fuzz_uint(fuzz, 8);
    case 3:
        return UINT32_MAX - (uint64_t)(kind >> 3 & 7);
    case 4:
        return UINT64_MAX - (uint64_t)(kind >> 3 & 7);
    case 5:
        return ((uint64_t)1 << fuzz_u8(fuzz) % 64) - (kind >> 3 & 1);
    case 6:
        return (uint64_t)UINT32_MAX + (kind >> 3 & 7);
    default:
        return INT64_MAX - (uint64_t)3 + (kind >> 3 & 7);
    }
}

/* `base`, or a little more or less, or any number at all. */
static inline uint64_t fuzz_near(struct fuzz *fuzz, uint64_t base)
{
    uint8_t kind = fuzz_u8(fuzz);
    if (kind < 0x80)
        return base;
    return kind < 0xe0 ? base + (kind & 15) - 4 : fuzz_number(fuzz);
}

/* The bytes as a file of their own, in memory: its path, valid until the next call for the slot. */
static inline const char *fuzz_file(unsigned slot, const void *bytes, size_t n)
{
    static int fd[4];
    static char path[4][32];
    assert(slot < 4);
    if (!fd[slot]) {
        fd[slot] = memfd_create("fuzz", MFD_CLOEXEC);
        assert(fd[slot] > 0);
        snprintf(path[slot], sizeof path[slot], "/proc/self/fd/%d", fd[slot]);
    }
    int failed = ftruncate(fd[slot], 0);
    failed |= n && pwrite(fd[slot], bytes, n, 0) != (ssize_t)n;
    assert(!failed);
    return path[slot];
}

/* A stream that goes nowhere, for code that prints. */
static inline FILE *fuzz_nowhere(void)
{
    static FILE *nowhere;
    if (!nowhere)
        nowhere = fopen("/dev/null", "w");
    assert(nowhere);
    return nowhere;
}

#endif
