/* What lies between the products of wide_pass.h: R rows, `ld` apart, in vectors, the last one in part. */
#include "vectors.h"

static inline long least(long a, long b) { return a < b ? a : b; }

/* To whole pairs of the widest vectors. */
static inline long round_up(long n) { return (n + 31) / 32 * 32; }

#define ROW_LOOP(H) for (long j = 0; j < (H); j += WIDTH)
#define MASK const part live = first(H - j)
#define LOAD(p) LOAD_PART(live, (p) + j)
#define STORE(p, v) STORE_PART(live, (p) + j, v)
#define RELU(v) LARGER(ZERO, v) /* in this order NaN stays NaN */

static inline float mean_of(vector sum, long H) { return SUM_OF(sum) / H; }

/* Has n floats brought nearer while something else is computed. */
static inline void fetch(long n, const float *x)
{
    for (long i = 0; i < n; i += 16) _mm_prefetch((const char *)(x + i), _MM_HINT_T1);
}

/* Rows go AT_ONCE: they share what is loaded of the parameters, and no row's sum waits for
 * another's. Every sum adds up in the order that one row at a time gives. */
#define ROWS static inline __attribute__((always_inline)) void
#define EACH_OF(n) _Pragma("GCC unroll 4") for (int i = 0; i < (n); i++)
#define BY_ROWS(R, step)                        \
    for (; (R) >= AT_ONCE; (R) -= AT_ONCE) step(AT_ONCE); \
    for (; (R) > 0; (R)--) step(1);
/* Keeps the compiler from adding rows up in another order. */
#define IN_ORDER(sum) __asm__("" : "+v"(sum))

ROWS relu_ln_of(const int n, long H, long ld, float *restrict z, const float *restrict bias,
                const float *restrict gamma, const float *restrict beta, float *restrict y,
                float *restrict stats)
{
    vector sum[4], square[4], mean[4], rstd[4];
    EACH_OF(n) sum[i] = square[i] = ZERO;
    ROW_LOOP(H) {
        MASK;
        vector shift = LOAD(bias);
        EACH_OF(n)
        {
            vector v = LOAD(z + i * ld) + shift;
            STORE(z + i * ld, v);
            sum[i] = sum[i] + RELU(v);
        }
    }
    EACH_OF(n) mean[i] = SPREAD(mean_of(sum[i], H));
    ROW_LOOP(H) {
        MASK;
        EACH_OF(n)
        {
            vector d = RELU(LOAD(z + i * ld)) - mean[i];
            square[i] = ADD_SQUARE(live, d, square[i]);
        }
    }
    EACH_OF(n)
    {
        float inverse = 1 / sqrtf(mean_of(square[i], H) + (float)LAYER_NORM_EPS);
        rstd[i] = SPREAD(inverse);
        stats[2 * i] = LOWEST(mean[i]);
        stats[2 * i + 1] = inverse;
    }
    ROW_LOOP(H) {
        MASK;
        vector scale = LOAD(gamma), shift = LOAD(beta);
        EACH_OF(n)
        {
            vector xhat = (RELU(LOAD(z + i * ld)) - mean[i]) * rstd[i];
            STORE(y + i * ld, FMADD(xhat, scale, shift));
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
    vector mean[4], rstd[4];
    EACH_OF(n) mean[i] = SPREAD(stats[2 * i]), rstd[i] = SPREAD(stats[2 * i + 1]);
    ROW_LOOP(H) {
        MASK;
        vector scale = LOAD(gamma), shift = LOAD(beta);
        EACH_OF(n)
        {
            vector xhat = (RELU(LOAD(z + i * ld)) - mean[i]) * rstd[i];
            STORE(y + i * ld, FMADD(xhat, scale, shift));
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
    vector mean[4], rstd[4], sa[4], sax[4];
    EACH_OF(n)
    {
        mean[i] = SPREAD(stats[2 * i]), rstd[i] = SPREAD(stats[2 * i + 1]);
        sa[i] = sax[i] = ZERO;
    }
    ROW_LOOP(H) {
        MASK;
        vector scale = LOAD(gamma), of_gamma, of_beta;
        if (grads) of_gamma = LOAD(grads + H), of_beta = LOAD(grads + 2 * H);
        EACH_OF(n)
        {
            vector d = LOAD(dy + i * ld), a = d * scale;
            vector xhat = (RELU(LOAD(z + i * ld)) - mean[i]) * rstd[i];
            sa[i] = sa[i] + a;
            sax[i] = FMADD(a, xhat, sax[i]);
            if (grads) {
                of_gamma = FMADD(d, xhat, of_gamma);
                of_beta = d + of_beta;
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
        sa[i] = SPREAD(mean_of(sa[i], H));
        sax[i] = SPREAD(mean_of(sax[i], H));
    }
    ROW_LOOP(H) {
        MASK;
        vector scale = LOAD(gamma), of_bias;
        if (grads) of_bias = LOAD(grads);
        EACH_OF(n)
        {
            vector v = LOAD(z + i * ld), a = LOAD(dy + i * ld) * scale - sa[i];
            vector xhat = (RELU(v) - mean[i]) * rstd[i];
            a = rstd[i] * FNMADD(xhat, sax[i], a);
            a = WHERE_POSITIVE(v, a);
            STORE(dz + i * ld, a);
            if (grads) {
                of_bias = a + of_bias;
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
    vector mean[4], rstd[4], su[4], sux[4];
    EACH_OF(n)
    {
        mean[i] = SPREAD(stats[2 * i]), rstd[i] = SPREAD(stats[2 * i + 1]);
        su[i] = sux[i] = ZERO;
    }
    ROW_LOOP(H) {
        MASK;
        vector shift = LOAD(v);
        EACH_OF(n)
        {
            vector u = LOAD(z + i * ld), ud = LOAD(zd + i * ld) + shift;
            ud = WHERE_POSITIVE(u, ud);
            vector xhat = (RELU(u) - mean[i]) * rstd[i];
            STORE(zd + i * ld, ud);
            su[i] = su[i] + ud;
            sux[i] = FMADD(ud, xhat, sux[i]);
        }
    }
    EACH_OF(n)
    {
        su[i] = SPREAD(mean_of(su[i], H));
        sux[i] = SPREAD(mean_of(sux[i], H));
    }
    ROW_LOOP(H) {
        MASK;
        vector scale = LOAD(gamma), of_gamma = LOAD(v + H), of_beta = LOAD(v + 2 * H);
        EACH_OF(n)
        {
            vector xhat = (RELU(LOAD(z + i * ld)) - mean[i]) * rstd[i];
            vector d = FNMADD(xhat, sux[i], LOAD(zd + i * ld) - su[i]);
            d = d * rstd[i] * scale;
            STORE(yd + i * ld, d + FMADD(of_gamma, xhat, of_beta));
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
            vector sum[4] = {{0}};
            ROW_LOOP(H) {
                MASK;
                vector w = LOAD(wt + o * H);
                for (long i = 0; i < 4; i++)
                    sum[i] = FMADD(LOAD(x + (r + (i < n ? i : 0)) * ld), w, sum[i]);
            }
            for (long i = 0; i < n; i++) y[(r + i) * O + o] += SUM_OF(sum[i]);
        }
}

/* x[r, :] = y[r, :] wt */
static void project_back(long R, long H, long O, const float *restrict y, const float *restrict wt,
                         float *restrict x, long ld)
{
    for (long r = 0; r < R; r++)
        ROW_LOOP(H) {
            MASK;
            vector sum = ZERO;
            for (long o = 0; o < O; o++)
                sum = FMADD(SPREAD(y[r * O + o]), LOAD(wt + o * H), sum);
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
            vector sum = LOAD(gt + o * H);
            for (long r = 0; r < R; r++)
                sum = FMADD(SPREAD(y[r * O + o]), LOAD(a + r * ld), sum);
            STORE(gt + o * H, sum);
        }
}

#undef ROW_LOOP
#undef MASK
#undef LOAD
#undef STORE
#undef RELU
