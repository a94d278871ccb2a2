/* wide_pass.h by multiply-adds of vectors of floats (PAIRS 0), or of pairs of bfloat16 that are summed
 * in float32 (PAIRS 1, VLEN 64). Included by wide_avx512.c and wide_avx2.c, which define VLEN, and KIND,
 * the names' beginning.
 *
 * A unit is a float or a pair, of two neighbours along the depth that a product sums over. Right
 * factors are packed in panels of two vectors' columns, [panels][depth][PANEL] units; rows of left ones
 * are read in place, a unit at a time for both vectors. TALL rows of sums stay in registers. With VLEN 32
 * they are so few that a block is several of them: each panel is read from L1 for all but the first.
 */
#if VLEN == 64
#define TALL 14
#define BLOCK 14
#define GROUP 196
#else
#define TALL 6
#define BLOCK 24
#define GROUP 192
#endif
#define PACKED float
#define PANEL (2 * WIDTH)

#if PAIRS
#define DEPTH(K) (((K) + 1) / 2)
#define MULTIPLY_ADD(x, w, sum) _mm512_dpbf16_ps(sum, (__m512bh)(x), (__m512bh)(w))
#else
#define DEPTH(K) (K)
#define MULTIPLY_ADD(x, w, sum) FMADD(x, w, sum)
#endif
#define INLINED static inline __attribute__((always_inline))
#define EVERY_ROW _Pragma("GCC unroll 14") for (long r = 0; r < R; r++)

/* R rows and two vectors of sums: out = x w, or out += x w, for x's unit (r, k) at r xm + k xk, where
 * one of the two is 1, and w's rows `wk` apart. */
INLINED void WIDE(tile)(const long R, long depth, const float *x, const long xm, const long xk,
                        const float *w, const long wk, float *out, long ld, const int add)
{
    vector left[TALL], right[TALL];
    const float *at[5] = {x, x + 3 * xm, x + 6 * xm, x + 9 * xm, x + 12 * xm}; /* three rows each */
    EVERY_ROW left[r] = right[r] = ZERO;
    for (long k = 0; k < depth; k++, x += xk, w += wk) {
        vector w0 = LOAD_WHOLE(w), w1 = LOAD_WHOLE(w + WIDTH);
        EVERY_ROW
        {
            vector unit = SPREAD(xm == 1 ? x[r] : at[r / 3][r % 3 * xm]);
            left[r] = MULTIPLY_ADD(unit, w0, left[r]);
            right[r] = MULTIPLY_ADD(unit, w1, right[r]);
        }
        _Pragma("GCC unroll 5") for (int i = 0; i < 5; i++) at[i] += xk;
    }
    EVERY_ROW
    {
        float *to = out + r * ld;
        if (add) {
            left[r] = LOAD_WHOLE(to) + left[r];
            right[r] = LOAD_WHOLE(to + WIDTH) + right[r];
        }
        STORE_WHOLE(to, left[r]);
        STORE_WHOLE(to + WIDTH, right[r]);
    }
}

/* The same for any number of rows, most of them TALL at a time. */
INLINED void WIDE(column)(long M, long depth, const float *x, const long xm, const long xk,
                          const float *w, const long wk, float *out, long ld, const int add)
{
    long m = 0;
#define TILES(R)               \
    for (; m + R <= M; m += R) \
        WIDE(tile)(R, depth, x + m * xm, xm, xk, w, wk, out + m * ld, ld, add);
    TILES(TALL)
#if VLEN == 64
    TILES(8)
#endif
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

/* A vector of units along a row of `left` floats. */
INLINED vector WIDE(along)(const float *x, long left)
{
#if PAIRS
    __m512 lower = _mm512_maskz_loadu_ps(first(left), x);
    __m512 upper = _mm512_maskz_loadu_ps(first(left - 16), x + 16);
    return (__m512)_mm512_cvtne2ps_pbh(upper, lower);
#else
    return LOAD_PART(first(left), x);
#endif
}

/* A unit of each of a vector's columns, `columns` of which exist, from the first of `left` rows on. */
INLINED vector WIDE(across)(const float *x, long ld, long left, long columns)
{
    vector even = LOAD_PART(first(columns), x);
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
            for (long half = 0; half < PANEL; half += WIDTH) {
                const float *from = x + k * ld + n + half;
                STORE_WHOLE(to + half, WIDE(across)(from, ld, K - k, N - n - half));
            }
}

/* Panels of w^T for w [N, K]. */
static void WIDE(pack_transposed)(long K, long N, const float *w, float *to)
{
    long depth = DEPTH(K);
    bits square[WIDTH];
    for (long n = 0; n < N; n += PANEL, to += depth * PANEL)
        for (long k = 0; k < depth; k += WIDTH)
            for (long half = n; half < n + PANEL; half += WIDTH) {
                for (long i = 0; i < WIDTH; i++) {
                    long left = half + i < N ? K - STRIDE * k : 0;
                    square[i] = (bits)WIDE(along)(w + (half + i) * K + STRIDE * k, left);
                }
                transpose(square);
                for (long i = 0; i < least(WIDTH, depth - k); i++)
                    STORE_WHOLE(to + (k + i) * PANEL + half - n, (vector)square[i]);
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

/* The three functions, called as those of amx.h are, and how many floats `room` and `work` of them take
 * (from a multiple of 64 bytes on). `terms` is not looked at. */
long JOIN(metagenrl, JOIN(KIND, room))(const NAME(shape) *s) { return WIDE(room)(0, s); }

long JOIN(metagenrl, JOIN(KIND, work))(const NAME(shape) *s) { return WIDE(work)(s); }

void NAME(JOIN(KIND, forward))(const NAME(shape) *s, const float *x, const float *params, float *z,
                               float *stats, float *y, float *work, float *room)
{
    WIDE(forward)(0, s, x, params, z, stats, y, work, room);
}

void NAME(JOIN(KIND, backward))(const NAME(shape) *s, const float *x, const float *params,
                                const float *z, const float *stats, const float *dy, float *grads,
                                long gstride, float *dx, float *work, float *room)
{
    WIDE(backward)(0, s, x, params, z, stats, dy, grads, gstride, dx, work, room);
}

void NAME(JOIN(KIND, parameter_tangent))(const NAME(shape) *s, const float *x, const float *params,
                                         const float *v, long vstride, const float *z,
                                         const float *stats, float *yd, float *work, float *room)
{
    WIDE(parameter_tangent)(0, s, x, params, v, vstride, z, stats, yd, work, room);
}

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
#undef PAIRS
#undef WIDE
#undef KIND
