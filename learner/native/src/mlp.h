/* Whole multi-layer perceptrons, a block of rows at a time so that it stays in the L1 cache.
 *
 * Included by layers.h, after the layers it is made of. Parameters lie as mlp.py lays them
 * out: per hidden layer w [in, H], bias, gamma, beta [H], then w_out [H, O], b_out [O]; `stride`
 * elements from one member of the ensemble to the next. Tapes: z [L, E, N, H] before activation and
 * layer norm, stats [L, E, N, 2]; what these make of z is computed again where it is needed, which
 * costs less than to write and read it. x [E, N, I] has `xs` elements a member (0: shared).
 */

#define MLP_ROWS 32

#include "shape.h"

/* y[r, o] += x[r, :] . wt[o, :] */
static void NAME(project)(long R, long H, long O, const REAL *restrict x, const REAL *restrict wt,
                          REAL *restrict y)
{
    for (long r = 0; r < R; r++)
        for (long o = 0; o < O; o++) {
            REAL sum = 0;
            for (long j = 0; j < H; j++) sum += x[r * H + j] * wt[o * H + j];
            y[r * O + o] += sum;
        }
}

/* x[r, :] += y[r, o] wt[o, :]; with `gt`, gt[o, :] += y[r, o] a[r, :] as well. */
static void NAME(project_back)(long R, long H, long O, const REAL *restrict y,
                               const REAL *restrict wt, const REAL *restrict a, REAL *restrict x,
                               REAL *restrict gt)
{
    for (long r = 0; r < R; r++)
        for (long o = 0; o < O; o++) {
            REAL yo = y[r * O + o];
            if (x)
                for (long j = 0; j < H; j++) x[r * H + j] += yo * wt[o * H + j];
            if (gt)
                for (long j = 0; j < H; j++) gt[o * H + j] += yo * a[r * H + j];
        }
}

/* x[R, width] += z[R, H] w^T for w [width, H], whose transpose is wt: dot products where a row of x
 * is narrower than a vector. */
static void NAME(lower)(long R, long H, long width, const REAL *restrict z,
                        const REAL *restrict w, const REAL *restrict wt, REAL *restrict x)
{
    if (width < LANES / 2)
        NAME(project)(R, H, width, z, w, x);
    else
        NAME(gemm)(R, H, width, z, H, wt, x, width);
}

/* y [E, N, O or H], and the tape. */
void NAME(mlp_forward)(const NAME(shape) *s, const REAL *restrict x, const REAL *restrict params,
                       REAL *restrict z, REAL *restrict stats, REAL *restrict y, REAL *restrict work)
{
    long H = s->H, N = s->N, O = s->O, last = NAME(offset)(s, s->L);
    REAL *a = work + H * O;
    for (long e = 0; e < s->E; e++) {
        const REAL *p = params + e * s->stride;
        if (O) NAME(transpose)(H, O, p + last, work);
        for (long n = 0; n < N; n += MLP_ROWS) {
            long R = N - n < MLP_ROWS ? N - n : MLP_ROWS;
            const REAL *in = x + e * s->xs + n * s->I;
            for (long l = 0; l < s->L; l++) {
                long row = (l * s->E + e) * N + n, width = NAME(width)(s, l);
                const REAL *w = p + NAME(offset)(s, l), *b = w + width * H;
                NAME(zero)(z + row * H, R * H);
                NAME(gemm)(R, width, H, in, width, w, z + row * H, H);
                REAL *out = l == s->L - 1 && !O ? y + (e * N + n) * H : a + l % 2 * MLP_ROWS * H;
                NAME(act_ln)(1, R, H, s->relu, z + row * H, b, b + H, b + 2 * H, out, stats + row * 2);
                in = out;
            }
            if (!O) continue;
            REAL *yr = y + (e * N + n) * O;
            for (long i = 0; i < R * O; i++) yr[i] = p[last + H * O + i % O];
            NAME(project)(R, H, O, in, work, yr);
        }
    }
}

/* The input of layer l on R rows from row n of member e on: x, or once more into `out`. */
static const REAL *NAME(input)(const NAME(shape) *s, long l, long e, long n, long R,
                               const REAL *restrict x, const REAL *restrict p,
                               const REAL *restrict z, const REAL *restrict stats,
                               REAL *restrict out)
{
    if (!l) return x + e * s->xs + n * s->I;
    long row = ((l - 1) * s->E + e) * s->N + n;
    const REAL *gamma = p + NAME(offset)(s, l - 1) + (NAME(width)(s, l - 1) + 1) * s->H;
    NAME(act_ln_again)(R, s->H, s->relu, z + row * s->H, stats + row * 2, gamma, gamma + s->H, out);
    return out;
}

/* The same of the tangent. */
static const REAL *NAME(input_direction)(const NAME(shape) *s, long l, long e, long n, long R,
                                         const REAL *restrict xd, const REAL *restrict p,
                                         const REAL *restrict z, const REAL *restrict stats,
                                         const REAL *restrict zd, REAL *restrict out,
                                         REAL *restrict tmp)
{
    if (!l) return xd + (e * s->N + n) * s->I;
    long row = ((l - 1) * s->E + e) * s->N + n;
    const REAL *gamma = p + NAME(offset)(s, l - 1) + (NAME(width)(s, l - 1) + 1) * s->H;
    NAME(act_ln_tangent)(1, R, s->H, s->relu, zd + row * s->H, z + row * s->H, stats + row * 2, gamma, out, tmp);
    return out;
}

/* Adjoint: dy [E, N, O or H] to grads (written, may be NULL) and dx [E, N, I] (may be NULL). */
void NAME(mlp_backward)(const NAME(shape) *s, const REAL *restrict x, const REAL *restrict params,
                        const REAL *restrict z, const REAL *restrict stats,
                        const REAL *restrict dy, REAL *grads, long gstride, REAL *dx,
                        REAL *restrict work)
{
    long H = s->H, N = s->N, O = s->O, L = s->L, last = NAME(offset)(s, L);
    REAL *wt = work, *da = wt + last + H * O, *dz = da + MLP_ROWS * H, *gt = dz + MLP_ROWS * H;
    REAL *a = gt + H * O, *tmp = a + MLP_ROWS * H;
    for (long e = 0; e < s->E; e++) {
        const REAL *p = params + e * s->stride;
        REAL *g = grads ? grads + e * gstride : NULL;
        if (g) NAME(zero)(g, last + (H + 1) * O);
        NAME(zero)(gt, H * O);
        for (long l = dx ? 0 : 1; l < L; l++)
            NAME(transpose)(NAME(width)(s, l), H, p + NAME(offset)(s, l), wt + NAME(offset)(s, l));
        if (O) NAME(transpose)(H, O, p + last, wt + last);
        for (long n = 0; n < N; n += MLP_ROWS) {
            long R = N - n < MLP_ROWS ? N - n : MLP_ROWS;
            const REAL *d = dy + (e * N + n) * (O ? O : H);
            if (O) {
                const REAL *top = g ? NAME(input)(s, L, e, n, R, x, p, z, stats, a) : NULL;
                NAME(zero)(da, R * H);
                NAME(project_back)(R, H, O, d, wt + last, top, da, g ? gt : NULL);
                if (g)
                    for (long i = 0; i < R * O; i++) g[last + H * O + i % O] += d[i];
                d = da;
            }
            for (long l = L - 1; l >= 0; l--) {
                long row = (l * s->E + e) * N + n, width = NAME(width)(s, l), at = NAME(offset)(s, l);
                const REAL *gamma = p + at + (width + 1) * H;
                REAL *gb = g ? g + at + width * H : NULL;
                NAME(act_ln_backward)(1, R, H, s->relu, d, z + row * H, stats + row * 2, gamma, dz,
                                      g ? gb + H : NULL, g ? gb + 2 * H : NULL, gb, tmp);
                if (g)
                    NAME(gemm_t)(width, R, H, NAME(input)(s, l, e, n, R, x, p, z, stats, a), width, dz, g + at, H);
                if (!l && !dx) break;
                REAL *out = l ? da : dx + (e * N + n) * s->I;
                NAME(zero)(out, R * width);
                NAME(lower)(R, H, width, dz, p + at, wt + at, out);
                d = da;
            }
        }
        if (g && O) NAME(transpose)(O, H, gt, g + last);
    }
}

/* Layer norm's own parameters move too: xd [R, H] += gamma' xhat + beta', v being the two. */
static void NAME(norm_tangent)(const NAME(shape) *s, long R, const REAL *restrict v,
                               const REAL *restrict z, const REAL *restrict stats,
                               REAL *restrict xd, REAL *restrict tmp)
{
    for (long i = 0; i < R; i++) {
        REAL mean = stats[i * 2], rstd = stats[i * 2 + 1];
        NAME(activate)(s->H, s->relu, z + i * s->H, tmp);
        for (long j = 0; j < s->H; j++)
            xd[i * s->H + j] += v[j] * (tmp[j] - mean) * rstd + v[s->H + j];
    }
}

/* Tangent along the direction v of the parameters: yd [E, N, O]. */
void NAME(mlp_parameter_tangent)(const NAME(shape) *s, const REAL *restrict x,
                                 const REAL *restrict params, const REAL *restrict v, long vstride,
                                 const REAL *restrict z, const REAL *restrict stats,
                                 REAL *restrict yd, REAL *restrict work)
{
    long H = s->H, N = s->N, O = s->O, L = s->L, last = NAME(offset)(s, L);
    REAL *wt = work, *vt = wt + H * O, *xd = vt + H * O, *zd = xd + MLP_ROWS * H;
    REAL *a = zd + MLP_ROWS * H, *tmp = a + MLP_ROWS * H;
    for (long e = 0; e < s->E; e++) {
        const REAL *p = params + e * s->stride, *q = v + e * vstride;
        NAME(transpose)(H, O, p + last, wt);
        NAME(transpose)(H, O, q + last, vt);
        for (long n = 0; n < N; n += MLP_ROWS) {
            long R = N - n < MLP_ROWS ? N - n : MLP_ROWS;
            for (long l = 0; l < L; l++) {
                long row = (l * s->E + e) * N + n, width = NAME(width)(s, l), at = NAME(offset)(s, l);
                const REAL *in = NAME(input)(s, l, e, n, R, x, p, z, stats, a);
                const REAL *vb = q + at + width * H, *b = p + at + width * H;
                for (long i = 0; i < R; i++)
                    for (long j = 0; j < H; j++) zd[i * H + j] = vb[j];
                NAME(gemm)(R, width, H, in, width, q + at, zd, H);
                if (l) NAME(gemm)(R, H, H, xd, H, p + at, zd, H);
                NAME(act_ln_tangent)(1, R, H, s->relu, zd, z + row * H, stats + row * 2, b + H, xd, tmp);
                NAME(norm_tangent)(s, R, vb + H, z + row * H, stats + row * 2, xd, tmp);
            }
            REAL *yr = yd + (e * N + n) * O;
            for (long i = 0; i < R * O; i++) yr[i] = q[last + H * O + i % O];
            NAME(project)(R, H, O, NAME(input)(s, L, e, n, R, x, p, z, stats, a), vt, yr);
            NAME(project)(R, H, O, xd, wt, yr);
        }
    }
}

/* Tangent along xd [E, N, I] of the input: yd [E, N, O or H]; zd [L, E, N, H] is its tape. */
void NAME(mlp_input_tangent)(const NAME(shape) *s, const REAL *restrict xd,
                             const REAL *restrict params, const REAL *restrict z,
                             const REAL *restrict stats, REAL *restrict zd, REAL *restrict yd,
                             REAL *restrict work)
{
    long H = s->H, N = s->N, O = s->O, last = NAME(offset)(s, s->L);
    REAL *ad = work + H * O, *tmp = ad + 2 * MLP_ROWS * H;
    for (long e = 0; e < s->E; e++) {
        const REAL *p = params + e * s->stride;
        if (O) NAME(transpose)(H, O, p + last, work);
        for (long n = 0; n < N; n += MLP_ROWS) {
            long R = N - n < MLP_ROWS ? N - n : MLP_ROWS;
            const REAL *in = xd + (e * N + n) * s->I;
            for (long l = 0; l < s->L; l++) {
                long row = (l * s->E + e) * N + n, width = NAME(width)(s, l);
                const REAL *w = p + NAME(offset)(s, l);
                NAME(zero)(zd + row * H, R * H);
                NAME(gemm)(R, width, H, in, width, w, zd + row * H, H);
                REAL *out = l == s->L - 1 && !O ? yd + (e * N + n) * H : ad + l % 2 * MLP_ROWS * H;
                NAME(act_ln_tangent)(1, R, H, s->relu, zd + row * H, z + row * H, stats + row * 2,
                                     w + (width + 1) * H, out, tmp);
                in = out;
            }
            if (!O) continue;
            NAME(zero)(yd + (e * N + n) * O, R * O);
            NAME(project)(R, H, O, in, work, yd + (e * N + n) * O);
        }
    }
}

/* Adjoint of (mlp_forward, mlp_input_tangent): from ay (may be NULL: 0) and ayd to grads (written)
 * and, unless NULL, to dx and dxd [E, N, I]. */
void NAME(mlp_dual_backward)(const NAME(shape) *s, const REAL *restrict x,
                             const REAL *restrict xd, const REAL *restrict params,
                             const REAL *restrict z, const REAL *restrict stats,
                             const REAL *restrict zd, const REAL *restrict ay,
                             const REAL *restrict ayd, REAL *grads, long gstride, REAL *dx,
                             REAL *dxd, REAL *restrict work)
{
    long H = s->H, N = s->N, O = s->O, L = s->L, last = NAME(offset)(s, L), width_y = O ? O : H;
    REAL *wt = work, *gt = wt + last + H * O, *da = gt + H * O, *dad = da + MLP_ROWS * H;
    REAL *dz = dad + MLP_ROWS * H, *dzd = dz + MLP_ROWS * H, *a = dzd + MLP_ROWS * H;
    REAL *ad = a + MLP_ROWS * H, *tmp = ad + MLP_ROWS * H;
    for (long e = 0; e < s->E; e++) {
        const REAL *p = params + e * s->stride;
        REAL *g = grads + e * gstride;
        NAME(zero)(g, last + (H + 1) * O);
        NAME(zero)(gt, H * O);
        for (long l = dx ? 0 : 1; l < L; l++)
            NAME(transpose)(NAME(width)(s, l), H, p + NAME(offset)(s, l), wt + NAME(offset)(s, l));
        if (O) NAME(transpose)(H, O, p + last, wt + last);
        for (long n = 0; n < N; n += MLP_ROWS) {
            long R = N - n < MLP_ROWS ? N - n : MLP_ROWS;
            const REAL *d = ay ? ay + (e * N + n) * width_y : NULL;
            const REAL *dd = ayd + (e * N + n) * width_y;
            if (O || !d) {
                NAME(zero)(da, R * H);
                if (O) {
                    NAME(zero)(dad, R * H);
                    NAME(input_direction)(s, L, e, n, R, xd, p, z, stats, zd, ad, tmp);
                    NAME(project_back)(R, H, O, dd, wt + last, ad, dad, gt);
                    if (d)
                        NAME(project_back)(R, H, O, d, wt + last, NAME(input)(s, L, e, n, R, x, p, z, stats, a), da, gt);
                    for (long i = 0; d && i < R * O; i++) g[last + H * O + i % O] += d[i];
                    dd = dad;
                }
                d = da;
            }
            for (long l = L - 1; l >= 0; l--) {
                long row = (l * s->E + e) * N + n, width = NAME(width)(s, l), at = NAME(offset)(s, l);
                REAL *gb = g + at + width * H;
                NAME(act_ln_dual_backward)(1, R, H, s->relu, d, dd, z + row * H, zd + row * H,
                                           stats + row * 2, p + at + (width + 1) * H, dz, dzd,
                                           gb + H, gb + 2 * H, gb, tmp);
                const REAL *in = NAME(input)(s, l, e, n, R, x, p, z, stats, a);
                const REAL *ind = NAME(input_direction)(s, l, e, n, R, xd, p, z, stats, zd, ad, tmp);
                NAME(gemm_t)(width, R, H, in, width, dz, g + at, H);
                NAME(gemm_t)(width, R, H, ind, width, dzd, g + at, H);
                if (!l && !dx) break;
                REAL *out = l ? da : dx + (e * N + n) * s->I, *outd = l ? dad : dxd + (e * N + n) * s->I;
                NAME(zero)(out, R * width);
                NAME(zero)(outd, R * width);
                NAME(lower)(R, H, width, dz, p + at, wt + at, out);
                NAME(lower)(R, H, width, dzd, p + at, wt + at, outd);
                d = da;
                dd = dad;
            }
        }
        if (O) NAME(transpose)(O, H, gt, g + last);
    }
}

#undef MLP_ROWS
