/* Activation and layer norm for rows of a few whole vectors, which stay in registers.
 *
 * Included by layers.h before the functions for any width, which hand over to these where
 * they can: same arguments, less those that only the general form needs. V vectors make a row; the
 * first P of them go through ReLU, the others are squared. V and P are constants after inlining.
 */

#define FIXED static inline __attribute__((always_inline))
#define EACH for (long v = 0; v < V; v++)
#define AT(x, row) (*(VEC *)((x) + ((row) * V + v) * LANES))
#define PARAMETER(x) (*(const VEC *)((x) + v * LANES))
#define MOST 8 /* vectors in a row */

#if REAL_IS_FLOAT
typedef int NAME(lanes) __attribute__((vector_size(VLEN)));
#else
typedef long NAME(lanes) __attribute__((vector_size(VLEN)));
#endif
#define MASK NAME(lanes)

/* Sum over the lanes, by halves. */
FIXED REAL NAME(total)(VEC x)
{
    MASK lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    for (int half = LANES / 2; half; half /= 2) x += __builtin_shuffle(x, lane ^ half);
    return x[0];
}

FIXED VEC NAME(activated)(VEC z, int relu)
{
    if (relu) return (VEC)((MASK)z & ~(MASK)(z < 0)); /* NaN stays */
    return z * z;
}

/* x act'(z) */
FIXED VEC NAME(sloped)(VEC z, VEC x, int relu)
{
    if (relu) return (VEC)((MASK)x & (MASK)(z > 0));
    return x * z * (REAL)2;
}

FIXED void NAME(rows_forward)(long V, long P, long N, REAL *restrict z, const REAL *restrict bias,
                              const REAL *restrict gamma, const REAL *restrict beta,
                              REAL *restrict y, REAL *restrict stats)
{
    REAL H = V * LANES;
    for (long n = 0; n < N; n++) {
        VEC u[MOST], sum = {0}, square = {0};
        EACH {
            VEC zv = AT(z, n) + PARAMETER(bias);
            AT(z, n) = zv;
            u[v] = NAME(activated)(zv, v < P);
            sum += u[v];
        }
        REAL mean = NAME(total)(sum) / H;
        EACH {
            u[v] -= mean;
            square += u[v] * u[v];
        }
        REAL rstd = (REAL)1 / SQRT(NAME(total)(square) / H + (REAL)LAYER_NORM_EPS);
        EACH AT(y, n) = u[v] * rstd * PARAMETER(gamma) + PARAMETER(beta);
        stats[2 * n] = mean;
        stats[2 * n + 1] = rstd;
    }
}

FIXED void NAME(rows_again)(long V, long P, long N, const REAL *restrict z,
                            const REAL *restrict stats, const REAL *restrict gamma,
                            const REAL *restrict beta, REAL *restrict y)
{
    for (long n = 0; n < N; n++) {
        REAL mean = stats[2 * n], rstd = stats[2 * n + 1];
        EACH {
            VEC u = NAME(activated)(AT(z, n), v < P);
            AT(y, n) = (u - mean) * rstd * PARAMETER(gamma) + PARAMETER(beta);
        }
    }
}

FIXED void NAME(rows_backward)(long V, long P, long N, const REAL *dy, const REAL *restrict z,
                               const REAL *restrict stats, const REAL *restrict gamma, REAL *dz,
                               REAL *restrict dgamma, REAL *restrict dbeta, REAL *restrict dbias)
{
    REAL H = V * LANES;
    VEC dg[MOST], db[MOST], dbi[MOST];
    EACH dg[v] = db[v] = dbi[v] = (VEC){0};
    for (long n = 0; n < N; n++) {
        REAL mean = stats[2 * n], rstd = stats[2 * n + 1];
        VEC xhat[MOST], a[MOST], sa = {0}, sax = {0};
        EACH {
            VEC d = AT(dy, n);
            xhat[v] = (NAME(activated)(AT(z, n), v < P) - mean) * rstd;
            a[v] = d * PARAMETER(gamma);
            sa += a[v];
            sax += a[v] * xhat[v];
            dg[v] += d * xhat[v];
            db[v] += d;
        }
        REAL ma = NAME(total)(sa) / H, max = NAME(total)(sax) / H;
        EACH {
            VEC d = NAME(sloped)(AT(z, n), (a[v] - ma - xhat[v] * max) * rstd, v < P);
            AT(dz, n) = d;
            dbi[v] += d;
        }
    }
    if (!dgamma) return;
    EACH {
        AT(dgamma, 0) += dg[v];
        AT(dbeta, 0) += db[v];
        AT(dbias, 0) += dbi[v];
    }
}

FIXED void NAME(rows_tangent)(long V, long P, long N, const REAL *zd, const REAL *restrict z,
                              const REAL *restrict stats, const REAL *restrict gamma, REAL *yd)
{
    REAL H = V * LANES;
    for (long n = 0; n < N; n++) {
        REAL mean = stats[2 * n], rstd = stats[2 * n + 1];
        VEC xhat[MOST], ud[MOST], su = {0}, sux = {0};
        EACH {
            xhat[v] = (NAME(activated)(AT(z, n), v < P) - mean) * rstd;
            ud[v] = NAME(sloped)(AT(z, n), AT(zd, n), v < P);
            su += ud[v];
            sux += ud[v] * xhat[v];
        }
        REAL mu = NAME(total)(su) / H, mux = NAME(total)(sux) / H;
        EACH AT(yd, n) = (ud[v] - mu - xhat[v] * mux) * rstd * PARAMETER(gamma);
    }
}

/* The formulas stand at act_ln_dual_backward. */
FIXED void NAME(rows_dual_backward)(long V, long P, long N, const REAL *ay, const REAL *ayd,
                                    const REAL *restrict z, const REAL *restrict zd,
                                    const REAL *restrict stats, const REAL *restrict gamma,
                                    REAL *az, REAL *azd, REAL *restrict dgamma,
                                    REAL *restrict dbeta, REAL *restrict dbias)
{
    REAL H = V * LANES;
    VEC dg[MOST], db[MOST], dbi[MOST];
    EACH dg[v] = db[v] = dbi[v] = (VEC){0};
    for (long n = 0; n < N; n++) {
        REAL mean = stats[2 * n], rstd = stats[2 * n + 1];
        VEC xhat[MOST], ud[MOST], ax[MOST], axd[MOST];
        VEC su = {0}, sm = {0}, sd = {0}, sq = {0}, ss = {0}, sa = {0}, sax = {0};
        EACH {
            xhat[v] = (NAME(activated)(AT(z, n), v < P) - mean) * rstd;
            ud[v] = NAME(sloped)(AT(z, n), AT(zd, n), v < P);
            ax[v] = AT(ay, n) * PARAMETER(gamma);
            axd[v] = AT(ayd, n) * PARAMETER(gamma);
            su += ud[v];
            sm += ud[v] * xhat[v];
            sd += axd[v];
            sq += axd[v] * xhat[v];
        }
        REAL mu = NAME(total)(su) / H, m = NAME(total)(sm) / H;
        REAL md = NAME(total)(sd) / H, q = NAME(total)(sq) / H;
        EACH {
            VEC pud = ud[v] - mu - xhat[v] * m;
            dg[v] += AT(ay, n) * xhat[v] + AT(ayd, n) * rstd * pud;
            db[v] += AT(ay, n);
            ss += axd[v] * pud;
            ax[v] -= (axd[v] * m + ud[v] * q) * rstd;
            sa += ax[v];
            sax += ax[v] * xhat[v];
        }
        REAL s = NAME(total)(ss) / H, ma = NAME(total)(sa) / H, max = NAME(total)(sax) / H;
        EACH {
            VEC zv = AT(z, n), d = (ax[v] - ma - xhat[v] * (max + rstd * s)) * rstd;
            VEC dd = (axd[v] - md - xhat[v] * q) * rstd;
            VEC dzv = NAME(sloped)(zv, d, v < P);
            if (v >= P) dzv += dd * AT(zd, n) * (REAL)2; /* act'' is 0 or 2 */
            AT(az, n) = dzv;
            AT(azd, n) = NAME(sloped)(zv, dd, v < P);
            dbi[v] += dzv;
        }
    }
    EACH {
        AT(dgamma, 0) += dg[v];
        AT(dbeta, 0) += db[v];
        AT(dbias, 0) += dbi[v];
    }
}

/* True where `rows` was called with the sizes of policies (64) or of the objective (32, half of
 * them squared) as constants. */
#define FIXED_SIZES(rows, ...)                                                                    \
    (E == 1 && H == 64 && relu == 64 && 64 / LANES <= MOST                                        \
         ? (rows(64 / LANES, 64 / LANES, N, __VA_ARGS__), 1)                                      \
         : E == 1 && H == 32 && relu == 16 && 32 / LANES <= MOST                                  \
               ? (rows(32 / LANES, 16 / LANES, N, __VA_ARGS__), 1)                                \
               : 0)
