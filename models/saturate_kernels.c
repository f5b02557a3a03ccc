/* models/saturate.h, built once for each instruction set as HM_TABLE, with vectors of HM_VL floats.
 */
#include "models/saturate.h"

#include "models/simd.h"

_Static_assert(HM_DIRECTIONS == 8, "sums of eight are taken at once");

/* s[j] = sum over the row of u_j x. */
INLINE void along(const float *u, size_t stride, const float *x, float s[HM_DIRECTIONS])
{
    vec sum[HM_DIRECTIONS] = {{0}};
    for (size_t i = 0; i < stride; i += VL) {
        const vec v = load(x + i);
        UNROLL for (int j = 0; j < HM_DIRECTIONS; j++) sum[j] +=
            v * load(u + (size_t)j * stride + i);
    }
    for (int j = 0; j < HM_DIRECTIONS; j += 4)
        *(vec4_at *)(void *)(s + j) = sum_each(to_four(sum[j]), to_four(sum[j + 1]),
                                               to_four(sum[j + 2]), to_four(sum[j + 3]));
}

INLINE vec splat(float x)
{
    return x - (vec){0};
}

INLINE vec units(const uint32_t *b, vec grid)
{
    return __builtin_convertvector(*(const ivec_at *)(const void *)b, vec) * grid;
}

static int walk(const hm_cell *w, const uint32_t *b, size_t stride, float grid, float least,
                const struct hm_projection *m, float *out)
{
    float owed[1024] __attribute__((aligned(64))), s[HM_DIRECTIONS];
    const vec unit = splat(grid), edge = splat(least);
    ivec due = {0}, odd = {0};
    for (size_t i = 0; i < stride; i += VL) {
        const vec live = load_cells(w + i), d = live - units(b + i, unit);
        store(out + i, live);
        store(owed + i, d);
        due |= (ivec)(d >= edge) | (ivec)(d <= -edge);
        odd |= ~(ivec)(d - d == 0); /* infinities and NaN */
    }
    int any = 0, broken = 0;
    for (int i = 0; i < VL; i++) {
        any |= due[i];
        broken |= odd[i];
    }
    if (!m || !any || broken)
        return 0;
    along(m->u, stride, owed, s);
    for (int j = 0; j < HM_DIRECTIONS; j++)
        s[j] *= m->c[j];
    const vec base = splat(m->base);
    for (size_t i = 0; i < stride; i += VL) {
        vec y = base * load(owed + i) + units(b + i, unit);
        UNROLL for (int j = 0; j < HM_DIRECTIONS; j++) y +=
            splat(s[j]) * load(m->u + (size_t)j * stride + i);
        store(out + i, y);
    }
    return 1;
}

static void back(const int32_t *q, size_t stride, float grid, const struct hm_projection *inverse,
                 hm_cell *w)
{
    float given[1024] __attribute__((aligned(64))), s[HM_DIRECTIONS];
    for (size_t i = 0; i < stride; i += VL)
        store(given + i, units((const uint32_t *)q + i, splat(grid)));
    along(inverse->u, stride, given, s);
    for (int j = 0; j < HM_DIRECTIONS; j++)
        s[j] *= inverse->c[j];
    const vec base = splat(1 - inverse->base);
    for (size_t i = 0; i < stride; i += VL) {
        vec y = base * load(given + i);
        UNROLL for (int j = 0; j < HM_DIRECTIONS; j++) y -=
            splat(s[j]) * load(inverse->u + (size_t)j * stride + i);
        add_cells(w + i, y);
    }
}

static void moment(const float *y, size_t n, const float *u, size_t stride, float *z)
{
    float s[HM_DIRECTIONS];
    for (size_t r = 0; r < n; r++, y += stride) {
        along(u, stride, y, s);
        for (size_t i = 0; i < stride; i += VL) {
            const vec v = load(y + i);
            UNROLL for (int j = 0; j < HM_DIRECTIONS; j++)
            {
                float *to = z + (size_t)j * stride + i;
                store(to, load(to) + splat(s[j]) * v);
            }
        }
    }
}

extern const struct hm_saturate_kernels HM_TABLE;
const struct hm_saturate_kernels HM_TABLE = {HM_TABLE_NAME, walk, back, moment};
