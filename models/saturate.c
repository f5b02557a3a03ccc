#include "models/saturate.h"

#include "sparse/kernels.h"
#include "sparse/rng.h"

#include <math.h>
#include <string.h>

/* ---- F ---- */

enum { LEAST_EXP = -12, STEP_BITS = 2, FRACTION_BITS = 23 - STEP_BITS }; /* four an octave */

/* M is the identity, as good as it matters, where N x is below that in all directions. */
static const float NEGLIGIBLE = .05f;

double hm_saturation(double x, double n)
{
    if (!(x < 700)) /* no number, too */
        return n;
    if (n <= 1 || x <= 0)
        return 1;
    return n * expm1(-x) / expm1(-n * x);
}

/* x of entry i: linear between powers of 2, so that the bits of a float are its index. */
static double entry_x(unsigned i)
{
    return ldexp(1 + (double)(i % 4) / 4, LEAST_EXP + (int)(i / 4));
}

void hm_saturation_fill(struct hm_saturation *table, double n)
{
    if (table->n == n)
        return;
    table->n = n;
    for (unsigned i = 0; i < HM_SATURATION_ENTRIES; i++)
        table->f[i] = (float)hm_saturation(entry_x(i), n);
}

float hm_saturation_at(const struct hm_saturation *table, float x)
{
    const float least = 1.0f / (1 << -LEAST_EXP);
    uint32_t bits, first = (127 + LEAST_EXP) << STEP_BITS;
    if (x < least)
        return x > 0 ? 1 + (table->f[0] - 1) * (x / least) : 1;
    memcpy(&bits, &x, sizeof bits);
    uint32_t i = (bits >> FRACTION_BITS) - first;
    if (i >= HM_SATURATION_ENTRIES - 1)
        return (float)table->n;
    const uint32_t mask = (1u << FRACTION_BITS) - 1;
    float part = (float)(bits & mask) * (1.0f / (float)(mask + 1));
    return table->f[i] + part * (table->f[i + 1] - table->f[i]);
}

int hm_saturation_of_row(const struct hm_saturation *table, const struct hm_directions *directions,
                         float x, struct hm_projection *m, struct hm_projection *inverse)
{
    if (table->n <= 1 || x * directions->lambda[0] * (float)table->n < NEGLIGIBLE)
        return 0;
    float rest = hm_saturation_at(table, x * directions->rest);
    m->u = inverse->u = directions->u;
    m->base = 1 / rest;
    inverse->base = rest;
    for (unsigned j = 0; j < HM_DIRECTIONS; j++) {
        float f = hm_saturation_at(table, x * directions->lambda[j]);
        m->c[j] = 1 / f - m->base;
        inverse->c[j] = f - rest;
    }
    return 1;
}

/* ---- in plain C ---- */

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

static void project(const struct hm_projection *p, const float *x, size_t stride, float *y)
{
    double along[HM_DIRECTIONS];
    for (unsigned j = 0; j < HM_DIRECTIONS; j++)
        along[j] = (double)p->c[j] * dot(p->u + j * stride, x, stride);
    for (size_t i = 0; i < stride; i++) {
        double sum = (double)p->base * (double)x[i];
        for (unsigned j = 0; j < HM_DIRECTIONS; j++)
            sum += along[j] * (double)p->u[j * stride + i];
        y[i] = (float)sum;
    }
}

enum { COLS_MAX = 1024 };

static int walk_ref(const hm_cell *w, const uint32_t *b, size_t stride, float grid, float least,
                    const struct hm_projection *m, float *out)
{
    float owed[COLS_MAX];
    int due = 0, finite = 1;
    for (size_t i = 0; i < stride; i++) {
        out[i] = hm_cell_get(&w[i]);
        owed[i] = out[i] - (float)(int32_t)b[i] * grid;
        finite &= isfinite(out[i]) != 0;
        due |= fabsf(owed[i]) >= least;
    }
    if (!m || !due || !finite)
        return 0;
    project(m, owed, stride, out);
    for (size_t i = 0; i < stride; i++)
        out[i] += (float)(int32_t)b[i] * grid;
    return 1;
}

static void back_ref(const int32_t *q, size_t stride, float grid,
                     const struct hm_projection *inverse, hm_cell *w)
{
    float given[COLS_MAX] = {0}, kept[COLS_MAX];
    for (size_t i = 0; i < stride; i++)
        given[i] = grid * (float)q[i];
    project(inverse, given, stride, kept);
    for (size_t i = 0; i < stride; i++)
        hm_cell_add(&w[i], given[i] - kept[i]);
}

static void moment_ref(const float *y, size_t n, const float *u, size_t stride, float *z)
{
    for (size_t r = 0; r < n; r++)
        for (unsigned j = 0; j < HM_DIRECTIONS; j++) {
            double along = dot(u + j * stride, y + r * stride, stride);
            for (size_t i = 0; i < stride; i++)
                z[j * stride + i] += (float)(along * (double)y[r * stride + i]);
        }
}

const struct hm_saturate_kernels hm_saturate_ref = {"ref", walk_ref, back_ref, moment_ref};

/* ---- for every instruction set ---- */

#if defined(__x86_64__)
extern const struct hm_saturate_kernels hm_saturate_sse2, hm_saturate_avx2, hm_saturate_avx512;
#define LEAST hm_saturate_sse2
#elif defined(__aarch64__)
extern const struct hm_saturate_kernels hm_saturate_neon;
#define LEAST hm_saturate_neon
#else
extern const struct hm_saturate_kernels hm_saturate_portable;
#define LEAST hm_saturate_portable
#endif

const struct hm_saturate_kernels *hm_saturate_kernels_find(const char *isa)
{
    const struct hm_kernels *known = hm_kernels_find(isa ? isa : "auto");
    if (!known)
        return NULL;
    if (strcmp(known->name, "ref") == 0)
        return &hm_saturate_ref;
#if defined(__x86_64__)
    if (strcmp(known->name, "avx512") == 0)
        return &hm_saturate_avx512;
    if (strcmp(known->name, "avx2") == 0)
        return &hm_saturate_avx2;
#endif
    return &LEAST;
}

/* ---- directions ---- */

enum { SWEEPS = 12 };

/* Eigenvectors v (columns) and eigenvalues of a symmetric matrix, by Jacobi's rotations; it is
 * small. a is used up, its diagonal gets the eigenvalues. */
static void diagonalise(double a[HM_DIRECTIONS][HM_DIRECTIONS],
                        double v[HM_DIRECTIONS][HM_DIRECTIONS])
{
    for (int i = 0; i < HM_DIRECTIONS; i++)
        for (int j = 0; j < HM_DIRECTIONS; j++)
            v[i][j] = i == j;
    for (int sweep = 0; sweep < SWEEPS; sweep++)
        for (int p = 0; p < HM_DIRECTIONS; p++)
            for (int q = p + 1; q < HM_DIRECTIONS; q++) {
                if (fabs(a[p][q]) <= 1e-12 * sqrt(fabs(a[p][p] * a[q][q])) || a[p][q] == 0)
                    continue;
                double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
                double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1));
                double c = 1 / sqrt(t * t + 1), s = t * c;
                for (int k = 0; k < HM_DIRECTIONS; k++) {
                    double x = a[k][p], y = a[k][q];
                    a[k][p] = c * x - s * y;
                    a[k][q] = s * x + c * y;
                }
                for (int k = 0; k < HM_DIRECTIONS; k++) {
                    double x = a[p][k], y = a[q][k], vx = v[k][p], vy = v[k][q];
                    a[p][k] = c * x - s * y;
                    a[q][k] = s * x + c * y;
                    v[k][p] = c * vx - s * vy;
                    v[k][q] = s * vx + c * vy;
                }
            }
}

/* Which column has the largest value on the diagonal, the second largest, ... */
static void order_of(double a[HM_DIRECTIONS][HM_DIRECTIONS], int order[HM_DIRECTIONS])
{
    for (int i = 0; i < HM_DIRECTIONS; i++) {
        int at = i;
        for (; at > 0 && a[order[at - 1]][order[at - 1]] < a[i][i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

/* Orthonormal rows, one after the other; a row that lies in those before it becomes zero. */
static void orthonormalise(float *u, size_t stride)
{
    for (unsigned j = 0; j < HM_DIRECTIONS; j++) {
        float *row = u + j * stride;
        const double before = dot(row, row, stride);
        for (int again = 0; again < 2; again++)
            for (unsigned i = 0; i < j; i++) {
                const float along = (float)dot(u + i * stride, row, stride);
                for (size_t k = 0; k < stride; k++)
                    row[k] -= along * u[i * stride + k];
            }
        const double norm = dot(row, row, stride);
        const float scale = norm > 1e-10 * before && norm > 1e-30 ? (float)(1 / sqrt(norm)) : 0;
        for (size_t k = 0; k < stride; k++)
            row[k] *= scale;
    }
}

/* Those that are zero get another chance: the first estimate begins with nothing. */
static void begin_at_random(float *u, size_t cols, size_t stride)
{
    for (unsigned j = 0; j < HM_DIRECTIONS; j++) {
        struct hm_rng rng = hm_rng_seed(j, 0x646972u);
        if (dot(u + j * stride, u + j * stride, stride) > 0)
            continue;
        for (size_t k = 0; k < cols; k++)
            u[j * stride + k] = (float)hm_rng_unit(&rng) - .5f;
    }
    orthonormalise(u, stride);
}

/* Turns u within its span so that its rows are the moment's eigenvectors there; z is the moment
 * times u. */
static void align(struct hm_directions *directions, const float *z, size_t stride, float *turned)
{
    double t[HM_DIRECTIONS][HM_DIRECTIONS], v[HM_DIRECTIONS][HM_DIRECTIONS];
    int order[HM_DIRECTIONS];
    float *u = directions->u;
    for (unsigned i = 0; i < HM_DIRECTIONS; i++)
        for (unsigned j = 0; j <= i; j++)
            t[i][j] = t[j][i] = (dot(u + i * stride, z + j * stride, stride) +
                                 dot(u + j * stride, z + i * stride, stride)) /
                                2;
    diagonalise(t, v);
    order_of(t, order);
    memset(turned, 0, HM_DIRECTIONS * stride * sizeof *turned);
    for (unsigned j = 0; j < HM_DIRECTIONS; j++) {
        directions->lambda[j] = (float)fmax(t[order[j]][order[j]], 0);
        for (unsigned i = 0; i < HM_DIRECTIONS; i++)
            for (size_t k = 0; k < stride; k++)
                turned[j * stride + k] += (float)v[i][order[j]] * u[i * stride + k];
    }
    memcpy(u, turned, HM_DIRECTIONS * stride * sizeof *u);
}

void hm_directions_turn(struct hm_directions *directions, const struct hm_saturate_kernels *kernels,
                        const float *y, size_t n, size_t cols, size_t stride, unsigned rounds,
                        float *z)
{
    const size_t all = HM_DIRECTIONS * stride;
    const float part = n ? 1 / (float)n : 0;
    double trace = 0, strong = 0;
    begin_at_random(directions->u, cols, stride);
    for (unsigned round = 0; round <= rounds; round++) {
        memset(z, 0, all * sizeof *z);
        kernels->moment(y, n, directions->u, stride, z);
        for (size_t i = 0; i < all; i++)
            z[i] *= part;
        if (round == rounds)
            break;
        memcpy(directions->u, z, all * sizeof *z);
        orthonormalise(directions->u, stride);
    }
    float turned[HM_DIRECTIONS * COLS_MAX];
    align(directions, z, stride, turned);
    for (size_t i = 0; i < n; i++)
        trace += dot(y + i * stride, y + i * stride, stride);
    for (unsigned j = 0; j < HM_DIRECTIONS; j++)
        strong += (double)directions->lambda[j];
    trace *= (double)part;
    directions->rest = cols > HM_DIRECTIONS
                           ? (float)(fmax(trace - strong, 0) / (double)(cols - HM_DIRECTIONS))
                           : 0;
}
