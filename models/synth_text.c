#include "models/synth_text.h"

#include "models/whole_file.h"
#include "sparse/rng.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    KINDS = 5,
    SUBJECTS = 20, /* of a kind, with a word for each of two roles */
    ROLES = 2,
    SUBJECT_WORDS = 6,
    ROLE_WORDS = 12,
    COMMON_WORDS = 200,
    LINE_WORDS = 12, /* to 20 */
    WORD_BYTES_MAX = 8,
    LINE_BYTES_MAX = 24 * (WORD_BYTES_MAX + 1),
    PIECE = 1 << 16,
    PATH_BYTES_MAX = 4096,
};

/* Words by number: those in pairs, those of subjects, those of roles, those that are everywhere. */
enum {
    FIRST_OF_SUBJECTS = KINDS * SUBJECTS * ROLES,
    FIRST_OF_ROLES = FIRST_OF_SUBJECTS + KINDS * SUBJECTS * SUBJECT_WORDS,
    FIRST_COMMON = FIRST_OF_ROLES + KINDS * ROLES * ROLE_WORDS,
};

static uint32_t pair_word(uint32_t kind, uint32_t subject, uint32_t role)
{
    return (kind * SUBJECTS + subject) * ROLES + role;
}

/* Three syllables, different for each number below 2^18. */
static char *put_word(char *p, uint32_t number)
{
    static const char consonants[] = "bdfghjklmnprstvz", vowels[] = "aeio";
    uint32_t x = number * 29u % 262144u; /* odd: neighbours sound different */
    for (int i = 0; i < 3; i++, x /= 64) {
        *p++ = consonants[x / 4 % 16];
        *p++ = vowels[x % 4];
    }
    return p;
}

/* The smaller of two draws of a smaller one: few words are very frequent. */
static uint32_t draw_common(struct hm_rng *rng)
{
    uint32_t most = hm_rng_below(rng, COMMON_WORDS) + 1;
    return FIRST_COMMON + hm_rng_below(rng, hm_rng_below(rng, most) + 1);
}

static uint32_t draw_word(struct hm_rng *rng, uint32_t kind, uint32_t subject, uint32_t role)
{
    uint32_t x = hm_rng_below(rng, 12);
    if (x < 2)
        return pair_word(kind, subject, role);
    if (x < 6)
        return FIRST_OF_SUBJECTS + (kind * SUBJECTS + subject) * SUBJECT_WORDS +
               hm_rng_below(rng, SUBJECT_WORDS);
    if (x < 9)
        return FIRST_OF_ROLES + (kind * ROLES + role) * ROLE_WORDS + hm_rng_below(rng, ROLE_WORDS);
    return draw_common(rng);
}

static size_t put_line(char *to, uint64_t seed, uint64_t line)
{
    struct hm_rng rng = hm_rng_seed(seed, line);
    uint32_t kind = hm_rng_below(&rng, KINDS), subject = hm_rng_below(&rng, SUBJECTS),
             role = hm_rng_below(&rng, ROLES), n = LINE_WORDS + hm_rng_below(&rng, 9);
    char *p = to;
    for (uint32_t i = 0; i < n; i++) {
        p = put_word(p, draw_word(&rng, kind, subject, role));
        *p++ = i + 1 < n ? ' ' : '\n';
    }
    return (size_t)(p - to);
}

struct job {
    const struct hm_synth_text *synth;
    const struct hm_progress *progress;
};

static enum hm_status write_lines(void *context, int fd, struct hm_err *err)
{
    const struct job *job = context;
    static const unsigned some = PIECE / LINE_BYTES_MAX;
    char *text = malloc(PIECE);
    enum hm_status status = text ? HM_OK : hm_fail(err, HM_ENOMEM, "out of memory");
    for (uint64_t line = 0; line < job->synth->n_lines && !status;) {
        size_t n = 0;
        for (unsigned i = 0; i < some && line < job->synth->n_lines; i++)
            n += put_line(text + n, job->synth->seed, line++);
        status = hm_file_put(fd, text, n, err);
        if (!status && hm_report(job->progress, "write lines", (double)line,
                                 (double)job->synth->n_lines, "lines"))
            status = hm_fail(err, HM_ESTOPPED, "stopped");
    }
    free(text);
    return status;
}

/* Every two pairs of a kind are a question. */
static enum hm_status write_questions(void *context, int fd, struct hm_err *err)
{
    (void)context;
    char text[SUBJECTS * 4 * (WORD_BYTES_MAX + 1) + 32];
    enum hm_status status = HM_OK;
    for (uint32_t kind = 0; kind < KINDS; kind++)
        for (uint32_t a = 0; a < SUBJECTS && !status; a++) {
            char *p = text;
            if (a == 0)
                p += sprintf(p, ": kind-%u\n", kind + 1);
            for (uint32_t c = 0; c < SUBJECTS; c++)
                for (uint32_t i = 0; a != c && i < 4; i++) {
                    p = put_word(p, pair_word(kind, i < 2 ? a : c, i % 2));
                    *p++ = i < 3 ? ' ' : '\n';
                }
            status = hm_file_put(fd, text, (size_t)(p - text), err);
        }
    return status;
}

/* How much two words share: subject and kind 7, role and kind 5, kind 2, nothing 0. */
static uint32_t score_of(uint32_t a, uint32_t b)
{
    uint32_t subject = a / ROLES, other = b / ROLES;
    if (subject == other)
        return 7;
    if (subject / SUBJECTS != other / SUBJECTS)
        return 0;
    return a % ROLES == b % ROLES ? 5 : 2;
}

static enum hm_status write_pairs(void *context, int fd, struct hm_err *err)
{
    (void)context;
    char text[8 * (2 * WORD_BYTES_MAX + 8)];
    enum hm_status status = HM_OK;
    for (uint32_t a = 0; a < FIRST_OF_SUBJECTS && !status; a++) {
        const uint32_t kind = a / (SUBJECTS * ROLES) * (SUBJECTS * ROLES), in_kind = a - kind;
        const uint32_t with[] = {a ^ 1, kind + (in_kind + 2) % (SUBJECTS * ROLES),
                                 kind + (in_kind + 5) % (SUBJECTS * ROLES),
                                 (a + SUBJECTS * ROLES) % FIRST_OF_SUBJECTS};
        char *p = text;
        for (int i = 0; i < 4; i++) {
            p = put_word(p, a);
            *p++ = '\t';
            p = put_word(p, with[i]);
            p += sprintf(p, "\t%u\n", score_of(a, with[i]));
        }
        status = hm_file_put(fd, text, (size_t)(p - text), err);
    }
    return status;
}

enum hm_status hm_synth_text_write(const struct hm_synth_text *synth, const char *dir,
                                   const struct hm_progress *progress, struct hm_err *err)
{
    static const struct {
        const char *name;
        enum hm_status (*write)(void *context, int fd, struct hm_err *err);
    } file[] = {
        {"train.txt", write_lines}, {"questions.txt", write_questions}, {"pairs.txt", write_pairs}};
    struct job job = {synth, progress};
    if (!synth->n_lines)
        return hm_fail(err, HM_EUSAGE, "a text of at least 1 line is expected");
    enum hm_status status = hm_folder_make(dir, err);
    for (int i = 0; i < 3 && !status; i++) {
        char path[PATH_BYTES_MAX];
        snprintf(path, sizeof path, "%s/%s", dir, file[i].name);
        status = hm_whole_file(path, file[i].write, &job, err);
    }
    return status;
}
