/* The kernels, once per floating-point type and instruction set: see native.c.
 *
 * The including file defines REAL, VLEN (bytes of a vector) and NAME(x). Everything is row-major
 * and contiguous; `restrict` pointers never overlap unless a comment says so. Python's
 * learner/networks/layers.py holds the same functions in plain torch: it is the reference.
 */

typedef REAL NAME(vec) __attribute__((vector_size(VLEN), aligned(sizeof(REAL)), may_alias));
#define VEC NAME(vec)
#define LANES ((long)(VLEN / sizeof(REAL)))
/* No two iterations touch the same element: spares the compiler dozens of aliasing checks. */
#define INDEPENDENT _Pragma("GCC ivdep")
#define NARROW 64 /* rows of a matrix that `last_columns` pads at a time */
#define ROWS 16 /* rows that one block of the LSTM works on, so that its state stays in L1 */

/* exp(x) - 1 in `*m1`, exp(x) returned. Cephes polynomial in float, libm in double. */
static inline REAL NAME(exp)(REAL x, REAL *m1)
{
#if REAL_IS_FLOAT
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    float n = rintf(x * 1.44269504088896341f);
    /* fma keeps the two-step range reduction from being reassociated away */
    float r = __builtin_fmaf(n, -0.693359375f, x);
    r = __builtin_fmaf(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    float e = p * r * r + r;
    int bits = ((int)n + 127) << 23;
    float scale;
    __builtin_memcpy(&scale, &bits, sizeof scale);
    *m1 = __builtin_fmaf(scale, e, scale - 1.0f);
    return __builtin_fmaf(scale, e, scale);
#else
    *m1 = expm1(x);
    return exp(x);
#endif
}

static inline REAL NAME(sigmoid)(REAL x)
{
    REAL m1;
    return (REAL)1 / ((REAL)1 + NAME(exp)(-x, &m1));
}

static inline REAL NAME(tanh)(REAL x)
{
    REAL m1;
    x = x > (REAL)40 ? (REAL)40 : x;
    NAME(exp)((REAL)2 * x, &m1);
    return m1 / (m1 + (REAL)2);
}

/* Activation of unit j: ReLU below `relu`, the square from there on. */
static inline void NAME(activate)(long H, long relu, const REAL *restrict z, REAL *restrict u)
{
    for (long j = 0; j < relu; j++) u[j] = z[j] < 0 ? 0 : z[j];
    for (long j = relu; j < H; j++) u[j] = z[j] * z[j];
}

/* g *= act'(z) */
static inline void NAME(activate_grad)(long H, long relu, const REAL *restrict z, REAL *restrict g)
{
    for (long j = 0; j < relu; j++) g[j] = z[j] > 0 ? g[j] : 0;
    for (long j = relu; j < H; j++) g[j] *= (REAL)2 * z[j];
}

#include "rows.h"

/* z += bias (in place); y = layer_norm(act(z)) * gamma + beta; stats[row] = (mean, 1 / std). */
void NAME(act_ln)(long E, long N, long H, long relu, REAL *restrict z, const REAL *restrict bias,
                  const REAL *restrict gamma, const REAL *restrict beta, REAL *restrict y,
                  REAL *restrict stats)
{
    if (FIXED_SIZES(NAME(rows_forward), z, bias, gamma, beta, y, stats)) return;
    for (long e = 0; e < E; e++)
        for (long n = 0; n < N; n++) {
            REAL *zr = z + (e * N + n) * H, *yr = y + (e * N + n) * H;
            const REAL *b = bias + e * H, *g = gamma + e * H, *bt = beta + e * H;
            for (long j = 0; j < H; j++) zr[j] += b[j];
            NAME(activate)(H, relu, zr, yr);
            REAL sum = 0, square = 0;
            for (long j = 0; j < H; j++) sum += yr[j];
            REAL mean = sum / H;
            for (long j = 0; j < H; j++) square += (yr[j] - mean) * (yr[j] - mean);
            REAL rstd = (REAL)1 / SQRT(square / H + (REAL)LAYER_NORM_EPS);
            for (long j = 0; j < H; j++) yr[j] = (yr[j] - mean) * rstd * g[j] + bt[j];
            stats[2 * (e * N + n)] = mean;
            stats[2 * (e * N + n) + 1] = rstd;
        }
}

/* y of act_ln once more, from its z and stats: cheaper than to keep it. */
static void NAME(act_ln_again)(long N, long H, long relu, const REAL *restrict z,
                               const REAL *restrict stats, const REAL *restrict gamma,
                               const REAL *restrict beta, REAL *restrict y)
{
    const long E = 1;
    if (FIXED_SIZES(NAME(rows_again), z, stats, gamma, beta, y)) return;
    for (long n = 0; n < N; n++) {
        REAL *yr = y + n * H, mean = stats[2 * n], rstd = stats[2 * n + 1];
        NAME(activate)(H, relu, z + n * H, yr);
        for (long j = 0; j < H; j++) yr[j] = (yr[j] - mean) * rstd * gamma[j] + beta[j];
    }
}

/* Adjoint of act_ln. dz may be dy. dgamma and dbeta [E, H] are added to; NULL: not wanted. */
void NAME(act_ln_backward)(long E, long N, long H, long relu, const REAL *dy,
                           const REAL *restrict z, const REAL *restrict stats,
                           const REAL *restrict gamma, REAL *dz, REAL *restrict dgamma,
                           REAL *restrict dbeta, REAL *restrict dbias, REAL *restrict work)
{
    if (FIXED_SIZES(NAME(rows_backward), dy, z, stats, gamma, dz, dgamma, dbeta, dbias)) return;
    REAL *xhat = work, *a = work + H;
    for (long e = 0; e < E; e++)
        for (long n = 0; n < N; n++) {
            long row = e * N + n;
            const REAL *zr = z + row * H, *dyr = dy + row * H, *g = gamma + e * H;
            REAL *dzr = dz + row * H, mean = stats[2 * row], rstd = stats[2 * row + 1];
            NAME(activate)(H, relu, zr, xhat);
            REAL sa = 0, sax = 0;
            for (long j = 0; j < H; j++) {
                xhat[j] = (xhat[j] - mean) * rstd;
                a[j] = dyr[j] * g[j];
                sa += a[j];
                sax += a[j] * xhat[j];
            }
            if (dgamma) {
                REAL *dg = dgamma + e * H, *db = dbeta + e * H;
                for (long j = 0; j < H; j++) {
                    dg[j] += dyr[j] * xhat[j];
                    db[j] += dyr[j];
                }
            }
            sa /= H;
            sax /= H;
            for (long j = 0; j < H; j++) dzr[j] = rstd * (a[j] - sa - xhat[j] * sax);
            NAME(activate_grad)(H, relu, zr, dzr);
            if (dbias)
                for (long j = 0; j < H; j++) dbias[e * H + j] += dzr[j];
        }
}

/* Tangent of act_ln: yd = d/de layer_norm(act(z + e zd)) * gamma. yd may be zd. */
void NAME(act_ln_tangent)(long E, long N, long H, long relu, const REAL *zd,
                          const REAL *restrict z, const REAL *restrict stats,
                          const REAL *restrict gamma, REAL *yd, REAL *restrict work)
{
    if (FIXED_SIZES(NAME(rows_tangent), zd, z, stats, gamma, yd)) return;
    REAL *xhat = work, *ud = work + H;
    for (long e = 0; e < E; e++)
        for (long n = 0; n < N; n++) {
            long row = e * N + n;
            const REAL *zr = z + row * H, *g = gamma + e * H;
            REAL mean = stats[2 * row], rstd = stats[2 * row + 1];
            NAME(activate)(H, relu, zr, xhat);
            for (long j = 0; j < H; j++) ud[j] = zd[row * H + j];
            NAME(activate_grad)(H, relu, zr, ud);
            REAL su = 0, sux = 0;
            for (long j = 0; j < H; j++) {
                xhat[j] = (xhat[j] - mean) * rstd;
                su += ud[j];
                sux += ud[j] * xhat[j];
            }
            su /= H;
            sux /= H;
            for (long j = 0; j < H; j++)
                yd[row * H + j] = g[j] * rstd * (ud[j] - su - xhat[j] * sux);
        }
}

/* Adjoint of (act_ln, act_ln_tangent) together: given the adjoints ay, ayd of y and yd, the
 * adjoints az, azd of z and zd (az may be ay, azd may be ayd) and the parameters' gradients,
 * which are added to. With P(w) = w - mean(w) - xhat mean(xhat w), symmetric:
 *   xhat' = rstd P(u'),   a_u' = rstd P(a_xhat')
 *   a_u   = rstd P(a_xhat - rstd (a_xhat' m + q u')) - rstd^2 xhat mean(a_xhat' P(u'))
 * where m = mean(xhat u') and q = mean(a_xhat' xhat). */
void NAME(act_ln_dual_backward)(long E, long N, long H, long relu, const REAL *ay,
                                const REAL *ayd, const REAL *restrict z,
                                const REAL *restrict zd, const REAL *restrict stats,
                                const REAL *restrict gamma, REAL *az, REAL *azd,
                                REAL *restrict dgamma, REAL *restrict dbeta,
                                REAL *restrict dbias, REAL *restrict work)
{
    if (FIXED_SIZES(NAME(rows_dual_backward), ay, ayd, z, zd, stats, gamma, az, azd, dgamma,
                    dbeta, dbias))
        return;
    REAL *xhat = work, *ud = work + H, *ax = work + 2 * H, *axd = work + 3 * H;
    for (long e = 0; e < E; e++)
        for (long n = 0; n < N; n++) {
            long row = e * N + n;
            const REAL *zr = z + row * H, *zdr = zd + row * H, *g = gamma + e * H;
            const REAL *ayr = ay + row * H, *aydr = ayd + row * H;
            REAL *dg = dgamma + e * H, *db = dbeta + e * H, *dbi = dbias + e * H;
            REAL *azr = az + row * H, *azdr = azd + row * H;
            REAL mean = stats[2 * row], rstd = stats[2 * row + 1];
            NAME(activate)(H, relu, zr, xhat);
            for (long j = 0; j < H; j++) ud[j] = zdr[j];
            NAME(activate_grad)(H, relu, zr, ud);
            REAL su = 0, m = 0, sd = 0, q = 0;
            for (long j = 0; j < H; j++) {
                xhat[j] = (xhat[j] - mean) * rstd;
                ax[j] = ayr[j] * g[j];
                axd[j] = aydr[j] * g[j];
                su += ud[j];
                m += ud[j] * xhat[j];
                sd += axd[j];
                q += axd[j] * xhat[j];
            }
            su /= H;
            m /= H;
            sd /= H;
            q /= H;
            REAL s = 0, sa = 0, sax = 0;
            for (long j = 0; j < H; j++) {
                REAL pud = ud[j] - su - xhat[j] * m;
                dg[j] += ayr[j] * xhat[j] + aydr[j] * rstd * pud;
                db[j] += ayr[j];
                s += axd[j] * pud;
                ax[j] -= rstd * (axd[j] * m + q * ud[j]);
                sa += ax[j];
                sax += ax[j] * xhat[j];
            }
            s /= H;
            sa /= H;
            sax /= H;
            for (long j = 0; j < H; j++) {
                ax[j] = rstd * (ax[j] - sa - xhat[j] * (sax + rstd * s));
                axd[j] = rstd * (axd[j] - sd - xhat[j] * q);
            }
            /* through the activation: act'' is 0 for ReLU and 2 for the square */
            for (long j = 0; j < relu; j++) {
                azr[j] = zr[j] > 0 ? ax[j] : 0;
                azdr[j] = zr[j] > 0 ? axd[j] : 0;
            }
            for (long j = relu; j < H; j++) {
                azr[j] = (REAL)2 * (ax[j] * zr[j] + axd[j] * zdr[j]);
                azdr[j] = (REAL)2 * axd[j] * zr[j];
            }
            for (long j = 0; j < H; j++) dbi[j] += azr[j];
        }
}

/* out[R, V vectors] += x[R, K] w[K, V vectors] with x[r, k] at r ldx + k ldk; R and V are constants, so that the sums stay in
 * registers: R * V = 16 independent ones hide the latency of a multiply-add. */
static inline __attribute__((always_inline)) void
NAME(block)(long R, long V, long K, long N, const REAL *restrict x, long ldx, long ldk,
            const REAL *restrict w, REAL *restrict out, long ldo)
{
    VEC acc[8][4];
    for (long r = 0; r < R; r++)
        for (long v = 0; v < V; v++) acc[r][v] = *(const VEC *)(out + r * ldo + v * LANES);
    for (long k = 0; k < K; k++)
        for (long r = 0; r < R; r++) {
            REAL xk = x[r * ldx + k * ldk];
            for (long v = 0; v < V; v++) acc[r][v] += xk * *(const VEC *)(w + k * N + v * LANES);
        }
    for (long r = 0; r < R; r++)
        for (long v = 0; v < V; v++) *(VEC *)(out + r * ldo + v * LANES) = acc[r][v];
}

/* out[R, :width] += x[R, K] w[K, :width] for less than a vector: w's rows are padded to one. */
static void NAME(last_columns)(long R, long K, long N, long width, const REAL *restrict x, long ldx,
                         long ldk, const REAL *restrict w, REAL *restrict out, long ldo)
{
    REAL padded[NARROW * LANES], sums[8 * LANES];
    for (long k0 = 0; k0 < K; k0 += NARROW) {
        long Kb = K - k0 < NARROW ? K - k0 : NARROW;
        for (long k = 0; k < Kb; k++)
            for (long i = 0; i < LANES; i++) padded[k * LANES + i] = i < width ? w[(k0 + k) * N + i] : 0;
        for (long r = 0; r < R; r += 8) {
            long Rb = R - r < 8 ? R - r : 8;
            const REAL *xr = x + r * ldx + k0 * ldk;
            memset(sums, 0, sizeof sums);
            if (Rb == 8)
                NAME(block)(8, 1, Kb, LANES, xr, ldx, ldk, padded, sums, LANES);
            else
                for (long q = 0; q < Rb; q++)
                    NAME(block)(1, 1, Kb, LANES, xr + q * ldx, ldx, ldk, padded, sums + q * LANES, LANES);
            for (long q = 0; q < Rb; q++)
                for (long i = 0; i < width; i++) out[(r + q) * ldo + i] += sums[q * LANES + i];
        }
    }
}

/* out[R, N] += x[R, K] w[K, N]: panels of 4, 2 and 1 vectors, then what is left of N. AVX2 has half as many registers as
 * the others: panels of 2 and 1, and 12 sums, with blocks of 4 rows for what blocks of 6 would leave. */
static inline __attribute__((always_inline)) void
NAME(product)(long R, long K, long N, const REAL *restrict x, long ldx, long ldk,
              const REAL *restrict w, REAL *restrict out, long ldo)
{
    long j = 0;
#define PANEL(ROWS_, V)                                                                          \
    for (; j + (V) * LANES <= N; j += (V) * LANES) {                                             \
        long r = 0;                                                                              \
        for (; (ROWS_) == 6 && (R - r) % 6 && r + 4 <= R; r += 4)                                \
            NAME(block)(4, V, K, N, x + r * ldx, ldx, ldk, w + j, out + r * ldo + j, ldo);       \
        for (; r + (ROWS_) <= R; r += (ROWS_))                                                   \
            NAME(block)(ROWS_, V, K, N, x + r * ldx, ldx, ldk, w + j, out + r * ldo + j, ldo);   \
        for (; r < R; r++)                                                                       \
            NAME(block)(1, V, K, N, x + r * ldx, ldx, ldk, w + j, out + r * ldo + j, ldo);       \
    }
#if VLEN == 32
    PANEL(6, 2)
#else
    PANEL(4, 4)
    PANEL(8, 2)
#endif
    PANEL(8, 1)
#undef PANEL
    if (j < N) NAME(last_columns)(R, K, N, N - j, x, ldx, ldk, w + j, out + j, ldo);
}

static void NAME(gemm)(long R, long K, long N, const REAL *restrict x, long ldx,
                       const REAL *restrict w, REAL *restrict out, long ldo)
{
    NAME(product)(R, K, N, x, ldx, 1, w, out, ldo);
}

/* out[R, N] += x[K, R]^T w[K, N] */
static void NAME(gemm_t)(long R, long K, long N, const REAL *restrict x, long ldx,
                         const REAL *restrict w, REAL *restrict out, long ldo)
{
    NAME(product)(R, K, N, x, 1, ldx, w, out, ldo);
}

/* LSTM over x [B, T, 4H], the input's projection with its bias, gates in the order i, f, g, o.
 * `x` becomes the activated gates. The state is zero wherever mask is 0. h, c: [B, T, H]. */
void NAME(lstm)(long B, long T, long H, long reverse, const REAL *restrict w,
                const REAL *restrict mask, REAL *restrict x, REAL *restrict h, REAL *restrict c)
{
    for (long b0 = 0; b0 < B; b0 += ROWS) {
        long R = B - b0 < ROWS ? B - b0 : ROWS;
        for (long s = 0; s < T; s++) {
            long t = reverse ? T - 1 - s : s, p = reverse ? t + 1 : t - 1;
            if (s) NAME(gemm)(R, H, 4 * H, h + (b0 * T + p) * H, T * H, w, x + (b0 * T + t) * 4 * H, T * 4 * H);
            for (long b = b0; b < b0 + R; b++) {
                REAL *z = x + (b * T + t) * 4 * H, *hr = h + (b * T + t) * H, *cr = c + (b * T + t) * H;
                const REAL *cp = c + (b * T + p) * H;
                REAL live = mask[b * T + t];
                for (long j = 0; j < 2 * H; j++) z[j] = NAME(sigmoid)(z[j]);
                for (long j = 2 * H; j < 3 * H; j++) z[j] = NAME(tanh)(z[j]);
                for (long j = 3 * H; j < 4 * H; j++) z[j] = NAME(sigmoid)(z[j]);
                if (s)
                    for (long j = 0; j < H; j++)
                        cr[j] = live * (z[H + j] * cp[j] + z[j] * z[2 * H + j]);
                else
                    for (long j = 0; j < H; j++) cr[j] = live * z[j] * z[2 * H + j];
                for (long j = 0; j < H; j++) hr[j] = live * z[3 * H + j] * NAME(tanh)(cr[j]);
            }
        }
    }
}

/* Tangent of the LSTM along xd [B, T, 4H], which becomes the gates' pre-activation tangent. */
void NAME(lstm_tangent)(long B, long T, long H, long reverse, const REAL *restrict w,
                        const REAL *restrict mask, const REAL *restrict gates,
                        const REAL *restrict c, REAL *restrict xd, REAL *restrict hd,
                        REAL *restrict cd)
{
    for (long b0 = 0; b0 < B; b0 += ROWS) {
        long R = B - b0 < ROWS ? B - b0 : ROWS;
        for (long s = 0; s < T; s++) {
            long t = reverse ? T - 1 - s : s, p = reverse ? t + 1 : t - 1;
            if (s) NAME(gemm)(R, H, 4 * H, hd + (b0 * T + p) * H, T * H, w, xd + (b0 * T + t) * 4 * H, T * 4 * H);
            for (long b = b0; b < b0 + R; b++) {
                const REAL *g = gates + (b * T + t) * 4 * H, *zd = xd + (b * T + t) * 4 * H;
                const REAL *cr = c + (b * T + t) * H, *cp = c + (b * T + p) * H;
                const REAL *cdp = cd + (b * T + p) * H;
                REAL *hdr = hd + (b * T + t) * H, *cdr = cd + (b * T + t) * H;
                REAL live = mask[b * T + t];
                INDEPENDENT
                for (long j = 0; j < H; j++) {
                    REAL i = g[j], f = g[H + j], u = g[2 * H + j], o = g[3 * H + j];
                    REAL idot = i * (1 - i) * zd[j], udot = (1 - u * u) * zd[2 * H + j];
                    REAL cdot = idot * u + i * udot;
                    if (s) cdot += f * (1 - f) * zd[H + j] * cp[j] + f * cdp[j];
                    REAL tc = NAME(tanh)(cr[j]);
                    cdr[j] = live * cdot;
                    hdr[j] = live * (o * (1 - o) * zd[3 * H + j] * tc + o * (1 - tc * tc) * cdot);
                }
            }
        }
    }
}

/* Adjoint of the LSTM: from ah [B, T, H] to ax [B, T, 4H]. wt [4H, H] is w transposed. */
void NAME(lstm_backward)(long B, long T, long H, long reverse, const REAL *restrict wt,
                         const REAL *restrict mask, const REAL *restrict gates,
                         const REAL *restrict c, const REAL *restrict ah, REAL *restrict ax,
                         REAL *restrict work)
{
    REAL *dh = work, *dc = work + ROWS * H;
    for (long b0 = 0; b0 < B; b0 += ROWS) {
        long R = B - b0 < ROWS ? B - b0 : ROWS;
        for (long k = 0; k < 2 * ROWS * H; k++) work[k] = 0;
        for (long s = T - 1; s >= 0; s--) {
            long t = reverse ? T - 1 - s : s, p = reverse ? t + 1 : t - 1;
            for (long r = 0; r < R; r++) {
                long b = b0 + r;
                const REAL *g = gates + (b * T + t) * 4 * H, *cr = c + (b * T + t) * H;
                const REAL *cp = c + (b * T + p) * H, *ahr = ah + (b * T + t) * H;
                REAL *axr = ax + (b * T + t) * 4 * H, live = mask[b * T + t];
                INDEPENDENT
                for (long j = 0; j < H; j++) {
                    REAL i = g[j], f = g[H + j], u = g[2 * H + j], o = g[3 * H + j];
                    REAL tc = NAME(tanh)(cr[j]), a = live * (ahr[j] + dh[r * H + j]);
                    REAL ac = live * dc[r * H + j] + a * o * (1 - tc * tc);
                    axr[j] = ac * u * i * (1 - i);
                    axr[H + j] = s ? ac * cp[j] * f * (1 - f) : 0;
                    axr[2 * H + j] = ac * i * (1 - u * u);
                    axr[3 * H + j] = a * tc * o * (1 - o);
                    dc[r * H + j] = ac * f;
                    dh[r * H + j] = 0;
                }
            }
            if (s) NAME(gemm)(R, 4 * H, H, ax + (b0 * T + t) * 4 * H, T * 4 * H, wt, dh, H);
        }
    }
}

/* Adjoint of (lstm, lstm_tangent) together: ah, ahd are the adjoints of h and its tangent; ax, axd
 * those of the projections x and xd. `zd` is what lstm_tangent left in xd. */
void NAME(lstm_dual_backward)(long B, long T, long H, long reverse, const REAL *restrict wt,
                              const REAL *restrict mask, const REAL *restrict gates,
                              const REAL *restrict c, const REAL *restrict zd,
                              const REAL *restrict cd, const REAL *restrict ah,
                              const REAL *restrict ahd, REAL *restrict ax, REAL *restrict axd,
                              REAL *restrict work)
{
    REAL *dh = work, *dhd = work + ROWS * H, *dc = work + 2 * ROWS * H, *dcd = work + 3 * ROWS * H;
    for (long b0 = 0; b0 < B; b0 += ROWS) {
        long R = B - b0 < ROWS ? B - b0 : ROWS;
        for (long k = 0; k < 4 * ROWS * H; k++) work[k] = 0;
        for (long s = T - 1; s >= 0; s--) {
            long t = reverse ? T - 1 - s : s, p = reverse ? t + 1 : t - 1;
            for (long r = 0; r < R; r++) {
                long row = (b0 + r) * T + t, prow = (b0 + r) * T + p;
                const REAL *g = gates + row * 4 * H, *zdr = zd + row * 4 * H;
                const REAL *cr = c + row * H, *cdr = cd + row * H;
                const REAL *cp = c + prow * H, *cdp = cd + prow * H;
                REAL *axr = ax + row * 4 * H, *axdr = axd + row * 4 * H, live = mask[row];
                INDEPENDENT
                for (long j = 0; j < H; j++) {
                    REAL i = g[j], f = g[H + j], u = g[2 * H + j], o = g[3 * H + j];
                    REAL zi = zdr[j], zf = zdr[H + j], zu = zdr[2 * H + j], zo = zdr[3 * H + j];
                    REAL si = i * (1 - i), sf = f * (1 - f), so = o * (1 - o), su = 1 - u * u;
                    REAL tc = NAME(tanh)(cr[j]), st = 1 - tc * tc, cdot = cdr[j];
                    REAL a = live * (ah[row * H + j] + dh[r * H + j]);
                    REAL ad = live * (ahd[row * H + j] + dhd[r * H + j]);
                    /* h = o tanh(c);  h' = o' tanh(c) + o (1 - tanh(c)^2) c' */
                    REAL ao = a * tc + ad * st * cdot, aod = ad * tc;
                    REAL atc = a * o + ad * (so * zo - 2 * o * tc * cdot);
                    REAL ac = live * dc[r * H + j] + atc * st;
                    REAL acd = live * dcd[r * H + j] + ad * o * st;
                    /* c = f cp + i u;  c' = f' cp + f cp' + i' u + i u' */
                    REAL cpj = s ? cp[j] : 0, cdpj = s ? cdp[j] : 0;
                    REAL af = ac * cpj + acd * cdpj, afd = acd * cpj;
                    REAL ai = ac * u + acd * su * zu, aid = acd * u;
                    REAL au = ac * i + acd * si * zi, aud = acd * i;
                    dc[r * H + j] = ac * f + acd * sf * zf;
                    dcd[r * H + j] = acd * f;
                    /* gates: x = sigma(z), x' = x (1 - x) z';  u = tanh(z), u' = (1 - u^2) z' */
                    axr[j] = (ai + aid * (1 - 2 * i) * zi) * si;
                    axr[H + j] = (af + afd * (1 - 2 * f) * zf) * sf;
                    axr[2 * H + j] = (au - aud * 2 * u * zu) * su;
                    axr[3 * H + j] = (ao + aod * (1 - 2 * o) * zo) * so;
                    axdr[j] = aid * si;
                    axdr[H + j] = afd * sf;
                    axdr[2 * H + j] = aud * su;
                    axdr[3 * H + j] = aod * so;
                    dh[r * H + j] = 0;
                    dhd[r * H + j] = 0;
                }
            }
            if (s) {
                NAME(gemm)(R, 4 * H, H, ax + (b0 * T + t) * 4 * H, T * 4 * H, wt, dh, H);
                NAME(gemm)(R, 4 * H, H, axd + (b0 * T + t) * 4 * H, T * 4 * H, wt, dhd, H);
            }
        }
    }
}

#if REAL_IS_FLOAT
#include "bf16.h"
#endif
#include "mlp.h"
#include "objective.h"
#include "critic_and_value.h"
#include "policy_update.h"

#undef VEC
#undef LANES
#undef ROWS
#undef NARROW
#undef INDEPENDENT
#undef FIXED
#undef EACH
#undef AT
#undef PARAMETER
#undef MOST
#undef MASK
#undef FIXED_SIZES
