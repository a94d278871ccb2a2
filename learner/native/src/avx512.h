/* wide_pass.h by multiply-adds of 16 floats (PAIRS 0), or of 16 pairs of bfloat16 that are summed in
 * float32 (PAIRS 1). Included by wide.c for each.
 *
 * A unit is a float or a pair, of two neighbours along the depth that a product sums over. Right
 * factors are packed in panels of two vectors' columns, [panels][depth][32] units; rows of left ones
 * are read in place, a unit at a time for both vectors. 14 rows of sums stay in registers.
 */
#define BLOCK TALL
#define GROUP (14 * TALL)
#define PACKED float
#define TALL 14
#define PANEL 32

#if PAIRS
#define DEPTH(K) (((K) + 1) / 2)
#define MULTIPLY_ADD(x, w, sum) _mm512_dpbf16_ps(sum, (__m512bh)(x), (__m512bh)(w))
#else
#define DEPTH(K) (K)
#define MULTIPLY_ADD(x, w, sum) _mm512_fmadd_ps(x, w, sum)
#endif
#define INLINED static inline __attribute__((always_inline))
#define EVERY_ROW _Pragma("GCC unroll 14") for (long r = 0; r < R; r++)

/* R rows and two vectors of sums: out = x w, or out += x w, for x's unit (r, k) at r xm + k xk, where
 * one of the two is 1, and w's rows `wk` apart. */
INLINED void WIDE(tile)(const long R, long depth, const float *x, const long xm, const long xk,
                        const float *w, const long wk, float *out, long ld, const int add)
{
    __m512 left[TALL], right[TALL];
    const float *at[5] = {x, x + 3 * xm, x + 6 * xm, x + 9 * xm, x + 12 * xm}; /* three rows each */
    EVERY_ROW left[r] = right[r] = _mm512_setzero_ps();
    for (long k = 0; k < depth; k++, x += xk, w += wk) {
        __m512 w0 = _mm512_loadu_ps(w), w1 = _mm512_loadu_ps(w + 16);
        EVERY_ROW
        {
            __m512 unit = _mm512_set1_ps(xm == 1 ? x[r] : at[r / 3][r % 3 * xm]);
            left[r] = MULTIPLY_ADD(unit, w0, left[r]);
            right[r] = MULTIPLY_ADD(unit, w1, right[r]);
        }
        _Pragma("GCC unroll 5") for (int i = 0; i < 5; i++) at[i] += xk;
    }
    EVERY_ROW
    {
        float *to = out + r * ld;
        _mm512_storeu_ps(to, add ? _mm512_add_ps(_mm512_loadu_ps(to), left[r]) : left[r]);
        to += 16;
        _mm512_storeu_ps(to, add ? _mm512_add_ps(_mm512_loadu_ps(to), right[r]) : right[r]);
    }
}

/* The same for any number of rows, most of them 14 at a time. */
INLINED void WIDE(column)(long M, long depth, const float *x, const long xm, const long xk,
                          const float *w, const long wk, float *out, long ld, const int add)
{
    long m = 0;
#define TILES(R)               \
    for (; m + R <= M; m += R) \
        WIDE(tile)(R, depth, x + m * xm, xm, xk, w, wk, out + m * ld, ld, add);
    TILES(14)
    TILES(8)
    TILES(4)
    TILES(2)
    TILES(1)
#undef TILES
}

#if PAIRS
/* The nearest bfloat16 values of two vectors, in pairs; NaN stays NaN. */
INLINED __m512 WIDE(paired)(__m512 even, __m512 odd)
{
    __m512i lower = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
    __m512i upper = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd));
    return _mm512_castsi512_ps(_mm512_or_si512(lower, _mm512_slli_epi32(upper, 16)));
}
#endif

/* 16 units along a row of `left` floats. */
INLINED __m512 WIDE(along)(const float *x, long left)
{
#if PAIRS
    __m512 lower = _mm512_maskz_loadu_ps(first(left), x);
    __m512 upper = _mm512_maskz_loadu_ps(first(left - 16), x + 16);
    return (__m512)_mm512_cvtne2ps_pbh(upper, lower);
#else
    return _mm512_maskz_loadu_ps(first(left), x);
#endif
}

/* A unit of each of 16 columns, `columns` of which exist, from the first of `left` rows on. */
INLINED __m512 WIDE(across)(const float *x, long ld, long left, long columns)
{
    __m512 even = _mm512_maskz_loadu_ps(first(columns), x);
#if PAIRS
    return WIDE(paired)(even, _mm512_maskz_loadu_ps(left > 1 ? first(columns) : 0, x + ld));
#else
    (void)ld, (void)left;
    return even;
#endif
}

#define STRIDE (1 + PAIRS) /* floats in a unit */

/* Panels of x [K, N], zeros beyond its columns. */
static void WIDE(pack)(long K, long N, const float *x, long ld, float *to)
{
    for (long n = 0; n < N; n += PANEL)
        for (long k = 0; k < K; k += STRIDE, to += PANEL)
            for (long half = 0; half < PANEL; half += 16) {
                const float *from = x + k * ld + n + half;
                _mm512_store_ps(to + half, WIDE(across)(from, ld, K - k, N - n - half));
            }
}

/* Panels of w^T for w [N, K]. */
static void WIDE(pack_transposed)(long K, long N, const float *w, float *to)
{
    long depth = DEPTH(K);
    __m512i square[16];
    for (long n = 0; n < N; n += PANEL, to += depth * PANEL)
        for (long k = 0; k < depth; k += 16)
            for (long half = n; half < n + PANEL; half += 16) {
                for (long i = 0; i < 16; i++) {
                    long left = half + i < N ? K - STRIDE * k : 0;
                    square[i] = (__m512i)WIDE(along)(w + (half + i) * K + STRIDE * k, left);
                }
                transpose(square);
                for (long i = 0; i < least(16, depth - k); i++)
                    _mm512_store_si512(to + (k + i) * PANEL + half - n, square[i]);
            }
}

/* Units of a packed factor. */
static inline long WIDE(packed)(long K, long N) { return DEPTH(K) * round_up(N); }

/* Right factors of all layers for going up (x w), or down (z w^T), one after the other. */
static void WIDE(pack_weights)(long terms, int down, const NAME(shape) *s, const float *params, float *to)
{
    (void)terms;
    for (long l = 0; l < s->L; l++) {
        long width = NAME(width)(s, l), H = s->H;
        const float *w = params + NAME(offset)(s, l);
        if (down)
            WIDE(pack_transposed)(H, width, w, to);
        else
            WIDE(pack)(width, H, w, H, to);
        to += down ? WIDE(packed)(H, width) : WIDE(packed)(width, H);
    }
}

/* Where layer l's begins among them. */
static inline long WIDE(at_layer)(long terms, int down, const NAME(shape) *s, long l)
{
    (void)terms;
    if (!l) return 0;
    return (down ? WIDE(packed)(s->H, s->I) : WIDE(packed)(s->I, s->H)) + (l - 1) * WIDE(packed)(s->H, s->H);
}

/* out [M, N] (+)= x [M, K], whose rows lie `ldx` apart, and a packed right factor; M up to BLOCK.
 * Unless NULL, as much is brought nearer from `soon` on, a part with each panel. */
static void WIDE(multiply)(long terms, long M, long K, long N, const float *x, long ldx,
                           const float *right, float *out, long ld, int add, float *left,
                           const float *soon)
{
    (void)terms;
    long depth = DEPTH(K);
#if PAIRS
    long row = round_up(depth);
    for (long m = 0; m < M; m++)
        for (long k = 0; k < depth; k += 16)
            _mm512_store_ps(left + m * row + k, WIDE(along)(x + m * ldx + 2 * k, K - 2 * k));
    x = left;
    ldx = row;
#else
    (void)left;
#endif
    for (long n = 0; n < N; n += PANEL, right += depth * PANEL) {
        if (soon) fetch(M * PANEL, soon + M * n);
        if (add)
            WIDE(column)(M, depth, x, ldx, 1, right, PANEL, out + n, ld, 1);
        else
            WIDE(column)(M, depth, x, ldx, 1, right, PANEL, out + n, ld, 0);
    }
}

/* out [M, N] += x [R, M]^T dz [R, N]; rows of dz and out lie `ld` apart, those of x `ldx`. */
static void WIDE(add_sums)(long terms, long M, long R, long N, const float *x, long ldx,
                           const float *dz, float *out, long ld, float *left, float *right)
{
    (void)terms, (void)left;
#if PAIRS
    long depth = DEPTH(R), row = round_up(M);
    float *units = right + depth * round_up(N);
    WIDE(pack)(R, N, dz, ld, right);
    for (long k = 0; k < depth; k++)
        for (long m = 0; m < M; m += 16)
            _mm512_store_ps(units + k * row + m, WIDE(across)(x + 2 * k * ldx + m, ldx, R - 2 * k, M - m));
    for (long n = 0; n < N; n += PANEL, right += depth * PANEL)
        WIDE(column)(M, depth, units, 1, row, right, PANEL, out + n, ld, 1);
#else
    (void)right;
    for (long n = 0; n < N; n += PANEL)
        WIDE(column)(M, R, x, 1, ldx, dz + n, ld, out + n, ld, 1);
#endif
}

/* Room for the left factor of `multiply`, and for both of `add_sums`. */
static inline long WIDE(left_room)(long terms, const NAME(shape) *s)
{
    (void)terms;
    long widest = round_up(s->H > s->I ? s->H : s->I);
    return PAIRS ? BLOCK * round_up(DEPTH(widest)) : 0;
}

static inline long WIDE(sums_room)(long terms, const NAME(shape) *s)
{
    (void)terms;
    long widest = round_up(s->H > s->I ? s->H : s->I);
    return PAIRS ? DEPTH(GROUP) * (round_up(s->H) + widest) : 0;
}

#include "wide_pass.h"

#undef BLOCK
#undef GROUP
#undef PACKED
#undef TALL
#undef PANEL
#undef DEPTH
#undef MULTIPLY_ADD
#undef INLINED
#undef EVERY_ROW
#undef STRIDE
