/* The two matrix products of the fully connected layers, on small matrices whose rows are padded to
 * 16 floats. Lanes run over inputs: rows of weights are contiguous. */
#ifndef HM_MODELS_LENET5_GEMM_H
#define HM_MODELS_LENET5_GEMM_H

#include "models/simd.h"

enum {
    DOT_ROWS = MANY_REGISTERS ? 4 : 2, /* of A at once, against 4 of B */
    SUM_ROWS = MANY_REGISTERS ? 4 : 2, /* of C at once */
    SUM_VECS = 5,                      /* vectors of C's row at once */
};

/* C[m][n] = sum over k of A[m][k] B[n][k], + bias[n], ReLU if asked for: ROWS rows of it. */
INLINE void dot_rows(const int ROWS, long N, long K, const float *A, long lda, const float *B,
                     long ldb, float *C, long ldc, const float *bias, const int with_relu)
{
    for (long n = 0; n < N; n += 4) {
        vec acc[4][4];
        UNROLL for (int m = 0; m < ROWS; m++)
        {
            UNROLL for (int j = 0; j < 4; j++) acc[m][j] = (vec){0};
        }
        const float *b = B + n * ldb;
        for (long k = 0; k < K; k += VL) {
            vec bv[4];
            UNROLL for (int j = 0; j < 4; j++) bv[j] = load(b + j * ldb + k);
            UNROLL for (int m = 0; m < ROWS; m++)
            {
                vec a = load(A + m * lda + k);
                UNROLL for (int j = 0; j < 4; j++) acc[m][j] += a * bv[j];
            }
        }
        vec4 bias4 = *(const vec4_at *)(bias + n);
        UNROLL for (int m = 0; m < ROWS; m++)
        {
            vec4 s = sum_each(to_four(acc[m][0]), to_four(acc[m][1]), to_four(acc[m][2]),
                              to_four(acc[m][3])) +
                     bias4;
            if (with_relu)
                s = (vec4)((ivec4)(s > 0) & (ivec4)s);
            *(vec4_at *)(C + m * ldc + n) = s;
        }
    }
}

/* M rows; N a multiple of 4, K of 16. */
static void dot_product(long M, long N, long K, const float *A, long lda, const float *B, long ldb,
                        float *C, long ldc, const float *bias, int with_relu)
{
    long m = 0;
    for (; m + DOT_ROWS <= M; m += DOT_ROWS)
        dot_rows(DOT_ROWS, N, K, A + m * lda, lda, B, ldb, C + m * ldc, ldc, bias, with_relu);
    for (; m < M; m++)
        dot_rows(1, N, K, A + m * lda, lda, B, ldb, C + m * ldc, ldc, bias, with_relu);
}

/* C[m][n] (+)= sum over p of A[m * am + p * ap] B[p][n], ROWS x VECS vectors of it. */
INLINE void sum_tile(const int ROWS, const int VECS, long P, const float *A, long am, long ap,
                     const float *B, long ldb, float *C, long ldc, int add)
{
    vec acc[4][SUM_VECS];
    UNROLL for (int m = 0; m < ROWS; m++)
    {
        UNROLL for (int j = 0; j < VECS; j++) acc[m][j] =
            add ? load(C + m * ldc + j * VL) : (vec){0};
    }
    for (long p = 0; p < P; p++) {
        vec bv[SUM_VECS];
        UNROLL for (int j = 0; j < VECS; j++) bv[j] = load(B + p * ldb + j * VL);
        UNROLL for (int m = 0; m < ROWS; m++)
        {
            float a = A[m * am + p * ap];
            UNROLL for (int j = 0; j < VECS; j++) acc[m][j] += bv[j] * a;
        }
    }
    UNROLL for (int m = 0; m < ROWS; m++)
    {
        UNROLL for (int j = 0; j < VECS; j++) store(C + m * ldc + j * VL, acc[m][j]);
    }
}

INLINE void sum_rows(const int ROWS, long vecs, long P, const float *A, long am, long ap,
                     const float *B, long ldb, float *C, long ldc, int add)
{
    if (vecs == 5)
        sum_tile(ROWS, 5, P, A, am, ap, B, ldb, C, ldc, add);
    else if (vecs == 4)
        sum_tile(ROWS, 4, P, A, am, ap, B, ldb, C, ldc, add);
    else if (vecs == 2)
        sum_tile(ROWS, 2, P, A, am, ap, B, ldb, C, ldc, add);
    else
        sum_tile(ROWS, 1, P, A, am, ap, B, ldb, C, ldc, add);
}

/* M rows of N floats, a multiple of 16; added to C or written. */
static void sum_product(long M, long N, long P, const float *A, long am, long ap, const float *B,
                        long ldb, float *C, long ldc, int add)
{
    for (long n = 0, vecs; n < N; n += vecs * VL) {
        long left = (N - n) / VL, rows = M;
        const float *a = A;
        float *c = C + n;
        vecs = left >= 5 ? 5 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        for (; rows >= SUM_ROWS; rows -= SUM_ROWS, a += SUM_ROWS * am, c += SUM_ROWS * ldc)
            sum_rows(SUM_ROWS, vecs, P, a, am, ap, B + n, ldb, c, ldc, add);
        for (; rows > 0; rows--, a += am, c += ldc)
            sum_rows(1, vecs, P, a, am, ap, B + n, ldb, c, ldc, add);
    }
}

#endif
