/* What lies between the products of wide_pass.h: R rows, `ld` apart, in vectors of 16 floats, the
 * last one masked. */

/* Transpose 16 x 16 elements of 32 bits. */
static inline void transpose(__m512i r[16])
{
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

static inline __mmask16 first(long n)
{
    return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1);
}

static inline long least(long a, long b) { return a < b ? a : b; }

/* To whole pairs of vectors. */
static inline long round_up(long n) { return (n + 31) / 32 * 32; }

#define ROW_LOOP(H) for (long j = 0; j < (H); j += 16)
#define MASK const __mmask16 live = first(H - j)
#define LOAD(p) _mm512_maskz_loadu_ps(live, (p) + j)
#define STORE(p, v) _mm512_mask_storeu_ps((p) + j, live, v)
#define RELU(v) _mm512_max_ps(_mm512_setzero_ps(), v) /* in this order NaN stays NaN */

static inline float mean_of(__m512 sum, long H) { return _mm512_reduce_add_ps(sum) / H; }

/* Has n floats brought nearer while something else is computed. */
static inline void fetch(long n, const float *x)
{
    for (long i = 0; i < n; i += 16) _mm_prefetch((const char *)(x + i), _MM_HINT_T1);
}

/* Rows go four at a time: they share what is loaded of the parameters, and no row's sum waits for
 * another's. Every sum adds up in the order that one row at a time gives. */
#define ROWS static inline __attribute__((always_inline)) void
#define EACH_OF(n) _Pragma("GCC unroll 4") for (int i = 0; i < (n); i++)
#define BY_ROWS(R, step)                        \
    for (; (R) >= 4; (R) -= 4) step(4);         \
    for (; (R) > 0; (R)--) step(1);
/* Keeps the compiler from adding rows up in another order. */
#define IN_ORDER(sum) __asm__("" : "+v"(sum))

ROWS relu_ln_of(const int n, long H, long ld, float *restrict z, const float *restrict bias,
                const float *restrict gamma, const float *restrict beta, float *restrict y,
                float *restrict stats)
{
    __m512 sum[4], square[4], mean[4], rstd[4];
    EACH_OF(n) sum[i] = square[i] = _mm512_setzero_ps();
    ROW_LOOP(H) {
        MASK;
        __m512 shift = LOAD(bias);
        EACH_OF(n)
        {
            __m512 v = _mm512_add_ps(LOAD(z + i * ld), shift);
            STORE(z + i * ld, v);
            sum[i] = _mm512_add_ps(sum[i], RELU(v));
        }
    }
    EACH_OF(n) mean[i] = _mm512_set1_ps(mean_of(sum[i], H));
    ROW_LOOP(H) {
        MASK;
        EACH_OF(n)
        {
            __m512 d = _mm512_sub_ps(RELU(LOAD(z + i * ld)), mean[i]);
            square[i] = _mm512_mask3_fmadd_ps(d, d, square[i], live);
        }
    }
    EACH_OF(n)
    {
        float inverse = 1 / sqrtf(mean_of(square[i], H) + (float)LAYER_NORM_EPS);
        rstd[i] = _mm512_set1_ps(inverse);
        stats[2 * i] = _mm512_cvtss_f32(mean[i]);
        stats[2 * i + 1] = inverse;
    }
    ROW_LOOP(H) {
        MASK;
        __m512 scale = LOAD(gamma), shift = LOAD(beta);
        EACH_OF(n)
        {
            __m512 xhat = _mm512_mul_ps(_mm512_sub_ps(RELU(LOAD(z + i * ld)), mean[i]), rstd[i]);
            STORE(y + i * ld, _mm512_fmadd_ps(xhat, scale, shift));
        }
    }
}

/* z += bias; y = layer_norm(relu(z)) gamma + beta; stats[row] = (mean, 1 / std). */
static void relu_ln(long R, long H, long ld, float *restrict z, const float *restrict bias,
                    const float *restrict gamma, const float *restrict beta, float *restrict y,
                    float *restrict stats)
{
#define STEP(n) relu_ln_of(n, H, ld, z, bias, gamma, beta, y, stats), z += n * ld, y += n * ld, stats += 2 * n
    BY_ROWS(R, STEP)
#undef STEP
}

ROWS normalized_of(const int n, long H, long ld, const float *restrict z,
                   const float *restrict stats, const float *restrict gamma,
                   const float *restrict beta, float *restrict y)
{
    __m512 mean[4], rstd[4];
    EACH_OF(n) mean[i] = _mm512_set1_ps(stats[2 * i]), rstd[i] = _mm512_set1_ps(stats[2 * i + 1]);
    ROW_LOOP(H) {
        MASK;
        __m512 scale = LOAD(gamma), shift = LOAD(beta);
        EACH_OF(n)
        {
            __m512 xhat = _mm512_mul_ps(_mm512_sub_ps(RELU(LOAD(z + i * ld)), mean[i]), rstd[i]);
            STORE(y + i * ld, _mm512_fmadd_ps(xhat, scale, shift));
        }
    }
}

/* y again, from what relu_ln left in z and stats. */
static void normalized(long R, long H, long ld, const float *restrict z,
                       const float *restrict stats, const float *restrict gamma,
                       const float *restrict beta, float *restrict y)
{
#define STEP(n) normalized_of(n, H, ld, z, stats, gamma, beta, y), z += n * ld, y += n * ld, stats += 2 * n
    BY_ROWS(R, STEP)
#undef STEP
}

ROWS relu_ln_backward_of(const int n, long H, long ld, const float *restrict dy,
                         const float *restrict z, const float *restrict stats,
                         const float *restrict gamma, float *restrict dz,
                         float *restrict grads)
{
    __m512 mean[4], rstd[4], sa[4], sax[4];
    EACH_OF(n)
    {
        mean[i] = _mm512_set1_ps(stats[2 * i]), rstd[i] = _mm512_set1_ps(stats[2 * i + 1]);
        sa[i] = sax[i] = _mm512_setzero_ps();
    }
    ROW_LOOP(H) {
        MASK;
        __m512 scale = LOAD(gamma), of_gamma, of_beta;
        if (grads) of_gamma = LOAD(grads + H), of_beta = LOAD(grads + 2 * H);
        EACH_OF(n)
        {
            __m512 d = LOAD(dy + i * ld), a = _mm512_mul_ps(d, scale);
            __m512 xhat = _mm512_mul_ps(_mm512_sub_ps(RELU(LOAD(z + i * ld)), mean[i]), rstd[i]);
            sa[i] = _mm512_add_ps(sa[i], a);
            sax[i] = _mm512_fmadd_ps(a, xhat, sax[i]);
            if (grads) {
                of_gamma = _mm512_fmadd_ps(d, xhat, of_gamma);
                of_beta = _mm512_add_ps(d, of_beta);
                IN_ORDER(of_gamma);
                IN_ORDER(of_beta);
            }
        }
        if (grads) {
            STORE(grads + H, of_gamma);
            STORE(grads + 2 * H, of_beta);
        }
    }
    EACH_OF(n)
    {
        sa[i] = _mm512_set1_ps(mean_of(sa[i], H));
        sax[i] = _mm512_set1_ps(mean_of(sax[i], H));
    }
    ROW_LOOP(H) {
        MASK;
        __m512 scale = LOAD(gamma), of_bias;
        if (grads) of_bias = LOAD(grads);
        EACH_OF(n)
        {
            __m512 v = LOAD(z + i * ld), a = _mm512_sub_ps(_mm512_mul_ps(LOAD(dy + i * ld), scale), sa[i]);
            __m512 xhat = _mm512_mul_ps(_mm512_sub_ps(RELU(v), mean[i]), rstd[i]);
            a = _mm512_mul_ps(rstd[i], _mm512_fnmadd_ps(xhat, sax[i], a));
            a = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_GT_OQ), a);
            STORE(dz + i * ld, a);
            if (grads) {
                of_bias = _mm512_add_ps(a, of_bias);
                IN_ORDER(of_bias);
            }
        }
        if (grads) STORE(grads, of_bias);
    }
}

/* relu_ln's adjoint: dz from dy. grads: bias, gamma and beta's [3, H], added to, unless NULL. */
static void relu_ln_backward(long R, long H, long ld, const float *restrict dy,
                             const float *restrict z, const float *restrict stats,
                             const float *restrict gamma, float *restrict dz,
                             float *restrict grads)
{
#define STEP(n) relu_ln_backward_of(n, H, ld, dy, z, stats, gamma, dz, grads), dy += n * ld, z += n * ld, \
        dz += n * ld, stats += 2 * n
    if (grads) {
        BY_ROWS(R, STEP)
    } else {
        grads = NULL;
        BY_ROWS(R, STEP)
    }
#undef STEP
}

ROWS relu_ln_tangent_of(const int n, long H, long ld, float *restrict zd, const float *restrict z,
                        const float *restrict stats, const float *restrict gamma,
                        const float *restrict v, float *restrict yd)
{
    __m512 mean[4], rstd[4], su[4], sux[4];
    EACH_OF(n)
    {
        mean[i] = _mm512_set1_ps(stats[2 * i]), rstd[i] = _mm512_set1_ps(stats[2 * i + 1]);
        su[i] = sux[i] = _mm512_setzero_ps();
    }
    ROW_LOOP(H) {
        MASK;
        __m512 shift = LOAD(v);
        EACH_OF(n)
        {
            __m512 u = LOAD(z + i * ld), ud = _mm512_add_ps(LOAD(zd + i * ld), shift);
            ud = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(u, _mm512_setzero_ps(), _CMP_GT_OQ), ud);
            __m512 xhat = _mm512_mul_ps(_mm512_sub_ps(RELU(u), mean[i]), rstd[i]);
            STORE(zd + i * ld, ud);
            su[i] = _mm512_add_ps(su[i], ud);
            sux[i] = _mm512_fmadd_ps(ud, xhat, sux[i]);
        }
    }
    EACH_OF(n)
    {
        su[i] = _mm512_set1_ps(mean_of(su[i], H));
        sux[i] = _mm512_set1_ps(mean_of(sux[i], H));
    }
    ROW_LOOP(H) {
        MASK;
        __m512 scale = LOAD(gamma), of_gamma = LOAD(v + H), of_beta = LOAD(v + 2 * H);
        EACH_OF(n)
        {
            __m512 xhat = _mm512_mul_ps(_mm512_sub_ps(RELU(LOAD(z + i * ld)), mean[i]), rstd[i]);
            __m512 d = _mm512_fnmadd_ps(xhat, sux[i], _mm512_sub_ps(LOAD(zd + i * ld), su[i]));
            d = _mm512_mul_ps(_mm512_mul_ps(d, rstd[i]), scale);
            STORE(yd + i * ld, _mm512_add_ps(d, _mm512_fmadd_ps(of_gamma, xhat, of_beta)));
        }
    }
}

/* relu_ln's tangent: yd from zd, without the bias's part, and `v`, that of bias, gamma and beta. */
static void relu_ln_tangent(long R, long H, long ld, float *restrict zd, const float *restrict z,
                            const float *restrict stats, const float *restrict gamma,
                            const float *restrict v, float *restrict yd)
{
#define STEP(n) relu_ln_tangent_of(n, H, ld, zd, z, stats, gamma, v, yd), zd += n * ld, z += n * ld, \
        yd += n * ld, stats += 2 * n
    BY_ROWS(R, STEP)
#undef STEP
}

/* y[r, o] += x[r, :] . wt[o, :] */
static void project(long R, long H, long O, const float *restrict x, long ld,
                    const float *restrict wt, float *restrict y)
{
    for (long r = 0; r < R; r += 4)
        for (long o = 0; o < O; o++) {
            long n = R - r < 4 ? R - r : 4;
            __m512 sum[4] = {{0}};
            ROW_LOOP(H) {
                MASK;
                __m512 w = LOAD(wt + o * H);
                for (long i = 0; i < 4; i++)
                    sum[i] = _mm512_fmadd_ps(LOAD(x + (r + (i < n ? i : 0)) * ld), w, sum[i]);
            }
            for (long i = 0; i < n; i++) y[(r + i) * O + o] += _mm512_reduce_add_ps(sum[i]);
        }
}

/* x[r, :] = y[r, :] wt */
static void project_back(long R, long H, long O, const float *restrict y, const float *restrict wt,
                         float *restrict x, long ld)
{
    for (long r = 0; r < R; r++)
        ROW_LOOP(H) {
            MASK;
            __m512 sum = _mm512_setzero_ps();
            for (long o = 0; o < O; o++)
                sum = _mm512_fmadd_ps(_mm512_set1_ps(y[r * O + o]), LOAD(wt + o * H), sum);
            STORE(x + r * ld, sum);
        }
}

/* gt[o, :] += sum over r of y[r, o] a[r, :] */
static void project_sums(long R, long H, long O, const float *restrict y, const float *restrict a,
                         long ld, float *restrict gt)
{
    for (long o = 0; o < O; o++)
        ROW_LOOP(H) {
            MASK;
            __m512 sum = LOAD(gt + o * H);
            for (long r = 0; r < R; r++)
                sum = _mm512_fmadd_ps(_mm512_set1_ps(y[r * O + o]), LOAD(a + r * ld), sum);
            STORE(gt + o * H, sum);
        }
}

#undef ROW_LOOP
#undef MASK
#undef LOAD
#undef STORE
#undef RELU
