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

/* z += bias; y = layer_norm(relu(z)) gamma + beta; stats[row] = (mean, 1 / std). */
static void relu_ln(long R, long H, long ld, float *restrict z, const float *restrict bias,
                    const float *restrict gamma, const float *restrict beta, float *restrict y,
                    float *restrict stats)
{
    for (long r = 0; r < R; r++, z += ld, y += ld) {
        __m512 sum = _mm512_setzero_ps(), square = sum;
        ROW_LOOP(H) {
            MASK;
            __m512 v = _mm512_add_ps(LOAD(z), LOAD(bias));
            STORE(z, v);
            sum = _mm512_add_ps(sum, RELU(v));
        }
        __m512 mean = _mm512_set1_ps(mean_of(sum, H));
        ROW_LOOP(H) {
            MASK;
            __m512 d = _mm512_sub_ps(RELU(LOAD(z)), mean);
            square = _mm512_mask3_fmadd_ps(d, d, square, live);
        }
        float inverse = 1 / sqrtf(mean_of(square, H) + (float)LAYER_NORM_EPS);
        __m512 rstd = _mm512_set1_ps(inverse);
        ROW_LOOP(H) {
            MASK;
            __m512 xhat = _mm512_mul_ps(_mm512_sub_ps(RELU(LOAD(z)), mean), rstd);
            STORE(y, _mm512_fmadd_ps(xhat, LOAD(gamma), LOAD(beta)));
        }
        stats[2 * r] = _mm512_cvtss_f32(mean);
        stats[2 * r + 1] = inverse;
    }
}

/* y again, from what relu_ln left in z and stats. */
static void normalized(long R, long H, long ld, const float *restrict z,
                       const float *restrict stats, const float *restrict gamma,
                       const float *restrict beta, float *restrict y)
{
    for (long r = 0; r < R; r++, z += ld, y += ld) {
        __m512 mean = _mm512_set1_ps(stats[2 * r]), rstd = _mm512_set1_ps(stats[2 * r + 1]);
        ROW_LOOP(H) {
            MASK;
            __m512 xhat = _mm512_mul_ps(_mm512_sub_ps(RELU(LOAD(z)), mean), rstd);
            STORE(y, _mm512_fmadd_ps(xhat, LOAD(gamma), LOAD(beta)));
        }
    }
}

/* relu_ln's adjoint: dz from dy. grads: bias, gamma and beta's [3, H], added to, unless NULL. */
static void relu_ln_backward(long R, long H, long ld, const float *restrict dy,
                             const float *restrict z, const float *restrict stats,
                             const float *restrict gamma, float *restrict dz,
                             float *restrict grads)
{
    for (long r = 0; r < R; r++, dy += ld, z += ld, dz += ld) {
        const __m512 mean = _mm512_set1_ps(stats[2 * r]), rstd = _mm512_set1_ps(stats[2 * r + 1]);
        __m512 sa = _mm512_setzero_ps(), sax = sa;
        ROW_LOOP(H) {
            MASK;
            __m512 d = LOAD(dy), a = _mm512_mul_ps(d, LOAD(gamma));
            __m512 xhat = _mm512_mul_ps(_mm512_sub_ps(RELU(LOAD(z)), mean), rstd);
            sa = _mm512_add_ps(sa, a);
            sax = _mm512_fmadd_ps(a, xhat, sax);
            if (grads) {
                STORE(grads + H, _mm512_fmadd_ps(d, xhat, LOAD(grads + H)));
                STORE(grads + 2 * H, _mm512_add_ps(d, LOAD(grads + 2 * H)));
            }
        }
        sa = _mm512_set1_ps(mean_of(sa, H));
        sax = _mm512_set1_ps(mean_of(sax, H));
        ROW_LOOP(H) {
            MASK;
            __m512 v = LOAD(z), a = _mm512_sub_ps(_mm512_mul_ps(LOAD(dy), LOAD(gamma)), sa);
            __m512 xhat = _mm512_mul_ps(_mm512_sub_ps(RELU(v), mean), rstd);
            a = _mm512_mul_ps(rstd, _mm512_fnmadd_ps(xhat, sax, a));
            a = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_GT_OQ), a);
            STORE(dz, a);
            if (grads) STORE(grads, _mm512_add_ps(a, LOAD(grads)));
        }
    }
}

/* relu_ln's tangent: yd from zd, without the bias's part, and `v`, that of bias, gamma and beta. */
static void relu_ln_tangent(long R, long H, long ld, float *restrict zd, const float *restrict z,
                            const float *restrict stats, const float *restrict gamma,
                            const float *restrict v, float *restrict yd)
{
    for (long r = 0; r < R; r++, zd += ld, z += ld, yd += ld) {
        const __m512 mean = _mm512_set1_ps(stats[2 * r]), rstd = _mm512_set1_ps(stats[2 * r + 1]);
        __m512 su = _mm512_setzero_ps(), sux = su;
        ROW_LOOP(H) {
            MASK;
            __m512 u = LOAD(z), ud = _mm512_add_ps(LOAD(zd), LOAD(v));
            ud = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(u, _mm512_setzero_ps(), _CMP_GT_OQ), ud);
            __m512 xhat = _mm512_mul_ps(_mm512_sub_ps(RELU(u), mean), rstd);
            STORE(zd, ud);
            su = _mm512_add_ps(su, ud);
            sux = _mm512_fmadd_ps(ud, xhat, sux);
        }
        su = _mm512_set1_ps(mean_of(su, H));
        sux = _mm512_set1_ps(mean_of(sux, H));
        ROW_LOOP(H) {
            MASK;
            __m512 xhat = _mm512_mul_ps(_mm512_sub_ps(RELU(LOAD(z)), mean), rstd);
            __m512 d = _mm512_fnmadd_ps(xhat, sux, _mm512_sub_ps(LOAD(zd), su));
            d = _mm512_mul_ps(_mm512_mul_ps(d, rstd), LOAD(gamma));
            STORE(yd, _mm512_add_ps(d, _mm512_fmadd_ps(LOAD(v + H), xhat, LOAD(v + 2 * H))));
        }
    }
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
