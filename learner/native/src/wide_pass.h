/* Wide ReLU networks with an output layer, from input to output on BLOCK rows at a time, and their
 * derivatives. Parameters lie as in mlp.h. Included once for each way to multiply (amx.h, multiply_add.h),
 * which defines BLOCK, GROUP, PACKED, WIDE(x) and the products.
 *
 * The tape holds z [L, E, rows, H], before the activation, with rows and columns rounded up to 32,
 * and stats [L, E, N, 2]; what the activation and layer norm make of z is computed again where it
 * is needed, which is faster than to read it. Weights' gradients are summed over GROUP rows in one
 * product.
 */

static inline __attribute__((always_inline)) void
WIDE(forward)(const int terms, const NAME(shape) *s, const float *x, const float *params, float *z,
        float *stats, float *y, float *work, PACKED *room)
{
    long H = s->H, N = s->N, O = s->O, last = NAME(offset)(s, s->L), ld = round_up(H);
    float *own = work, *a = own + BLOCK * ld, *own_stats = a + BLOCK * ld;
    float *wt = own_stats + 2 * BLOCK;
    PACKED *left = room, *right = room + WIDE(left_room)(terms, s);
    for (long e = 0; e < s->E; e++) {
        const float *p = params + e * s->stride;
        WIDE(pack_weights)(terms, 0, s, p, right);
        NAME(transpose)(H, O, p + last, wt);
        for (long n = 0; n < N; n += BLOCK) {
            long R = least(N - n, BLOCK), in_ld = s->I;
            const float *in = x + e * s->xs + n * s->I;
            for (long l = 0; l < s->L; l++) {
                long member = l * s->E + e, width = NAME(width)(s, l);
                const float *b = p + NAME(offset)(s, l) + width * H;
                float *zr = z ? z + (member * round_up(N) + n) * ld : own;
                float *st = z ? stats + 2 * (member * N + n) : own_stats;
                WIDE(multiply)(terms, R, width, H, in, in_ld, right + WIDE(at_layer)(terms, 0, s, l), zr,
                         ld, 0, left, NULL);
                relu_ln(R, H, ld, zr, b, b + H, b + 2 * H, a, st);
                in = a;
                in_ld = ld;
            }
            float *yr = y + (e * N + n) * O;
            for (long i = 0; i < R * O; i++) yr[i] = p[last + H * O + i % O];
            project(R, H, O, in, ld, wt, yr);
        }
    }
}

static inline __attribute__((always_inline)) void
WIDE(backward)(const int terms, const NAME(shape) *s, const float *x, const float *params,
         const float *z, const float *stats, const float *dy, float *grads, long gstride,
         float *dx, float *work, PACKED *room)
{
    long H = s->H, N = s->N, O = s->O, I = s->I, L = s->L, last = NAME(offset)(s, L);
    long ld = round_up(H);
    float *da = work, *a = da + BLOCK * ld, *dz = a + GROUP * ld, *above = dz + GROUP * ld;
    float *sums = above + GROUP * ld, *wt = sums + (round_up(I) + (L - 1) * ld) * ld, *gt = wt + H * O;
    PACKED *left = room, *right = left + WIDE(left_room)(terms, s);
    PACKED *weights = right + WIDE(sums_room)(terms, s);
    for (long e = 0; e < s->E; e++) {
        const float *p = params + e * s->stride;
        float *g = grads ? grads + e * gstride : NULL;
        if (g) {
            NAME(zero)(g, last + (H + 1) * O);
            NAME(zero)(sums, (round_up(I) + (L - 1) * ld) * ld);
            NAME(zero)(gt, H * O);
        }
        WIDE(pack_weights)(terms, 1, s, p, weights);
        NAME(transpose)(H, O, p + last, wt);
        for (long n = 0; n < N; n += GROUP) {
            long R = least(N - n, GROUP);
            for (long l = L - 1; l >= 0; l--) {
                long member = l * s->E + e, width = NAME(width)(s, l), at = NAME(offset)(s, l);
                const float *zr = z + (member * round_up(N) + n) * ld;
                const float *st = stats + 2 * (member * N + n), *gamma = p + at + (width + 1) * H;
                float *gb = g ? g + at + width * H : NULL;
                for (long b = 0; b < R; b += BLOCK) {
                    long B = least(R - b, BLOCK);
                    const float *dyr = dy + (e * N + n + b) * O;
                    if (l < L - 1) {
                        WIDE(multiply)(terms, B, H, H, above + b * ld, ld,
                                 weights + WIDE(at_layer)(terms, 1, s, l + 1), da, ld, 0, left,
                                 zr + b * ld);
                    } else {
                        project_back(B, H, O, dyr, wt, da, ld);
                        if (g) {
                            normalized(B, H, ld, zr + b * ld, st + 2 * b, gamma, gamma + H, a);
                            project_sums(B, H, O, dyr, a, ld, gt);
                            for (long i = 0; i < B * O; i++) g[last + H * O + i % O] += dyr[i];
                        }
                    }
                    relu_ln_backward(B, H, ld, da, zr + b * ld, st + 2 * b, gamma, dz + b * ld, gb);
                }
                if (g) {
                    const float *in = x + e * s->xs + n * I;
                    if (l) {
                        long below = (member - s->E) * N + n, rows = (member - s->E) * round_up(N) + n;
                        const float *b = p + NAME(offset)(s, l - 1) + NAME(width)(s, l - 1) * H;
                        normalized(R, H, ld, z + rows * ld, stats + 2 * below, b + H, b + 2 * H, a);
                        in = a;
                    }
                    WIDE(add_sums)(terms, width, R, H, in, l ? ld : I, dz,
                                   sums + (l ? round_up(I) + (l - 1) * ld : 0) * ld, ld, left, right);
                }
                float *swap = above;
                above = dz;
                dz = swap;
            }
            for (long b = 0; dx && b < R; b += BLOCK) {
                long B = least(R - b, BLOCK);
                WIDE(multiply)(terms, B, H, I, above + b * ld, ld, weights, da, round_up(I), 0, left,
                               NULL);
                for (long i = 0; i < B; i++)
                    memcpy(dx + (e * N + n + b + i) * I, da + i * round_up(I), I * sizeof(float));
            }
        }
        if (!g) continue;
        for (long l = 0; l < L; l++) {
            const float *from = sums + (l ? round_up(I) + (l - 1) * ld : 0) * ld;
            for (long i = 0; i < NAME(width)(s, l); i++)
                memcpy(g + NAME(offset)(s, l) + i * H, from + i * ld, H * sizeof(float));
        }
        NAME(transpose)(O, H, gt, g + last);
    }
}

static inline __attribute__((always_inline)) void
WIDE(parameter_tangent)(const int terms, const NAME(shape) *s, const float *x, const float *params,
                  const float *v, long vstride, const float *z, const float *stats, float *yd,
                  float *work, PACKED *room)
{
    long H = s->H, N = s->N, O = s->O, L = s->L, last = NAME(offset)(s, L), ld = round_up(H);
    float *a = work, *zd = a + BLOCK * ld, *xd = zd + BLOCK * ld, *wt = xd + BLOCK * ld, *vt = wt + H * O;
    PACKED *left = room, *right = left + WIDE(left_room)(terms, s);
    PACKED *moved = right + WIDE(at_layer)(terms, 0, s, L);
    for (long e = 0; e < s->E; e++) {
        const float *p = params + e * s->stride, *q = v + e * vstride;
        WIDE(pack_weights)(terms, 0, s, p, right);
        WIDE(pack_weights)(terms, 0, s, q, moved);
        NAME(transpose)(H, O, p + last, wt);
        NAME(transpose)(H, O, q + last, vt);
        for (long n = 0; n < N; n += BLOCK) {
            long R = least(N - n, BLOCK), in_ld = s->I;
            const float *in = x + e * s->xs + n * s->I;
            for (long l = 0; l < L; l++) {
                long member = l * s->E + e, at = NAME(offset)(s, l) + NAME(width)(s, l) * H;
                const float *zr = z + (member * round_up(N) + n) * ld, *gamma = p + at + H;
                const float *st = stats + 2 * (member * N + n);
                long of_layer = WIDE(at_layer)(terms, 0, s, l);
                WIDE(multiply)(terms, R, NAME(width)(s, l), H, in, in_ld, moved + of_layer, zd, ld, 0, left,
                               zr);
                if (l) WIDE(multiply)(terms, R, H, H, xd, ld, right + of_layer, zd, ld, 1, left, NULL);
                relu_ln_tangent(R, H, ld, zd, zr, st, gamma, q + at, xd);
                normalized(R, H, ld, zr, st, gamma, gamma + H, a);
                in = a;
                in_ld = ld;
            }
            float *yr = yd + (e * N + n) * O;
            for (long i = 0; i < R * O; i++) yr[i] = q[last + H * O + i % O];
            project(R, H, O, a, ld, vt, yr);
            project(R, H, O, xd, ld, wt, yr);
        }
    }
}

/* Floats of `work` for any of the three. */
static long WIDE(work)(const NAME(shape) *s)
{
    long ld = round_up(s->H), sums = round_up(s->I) + (s->L - 1) * ld;
    long block = BLOCK * (ld > round_up(s->I) ? ld : round_up(s->I));
    return 3 * (block + GROUP * ld) + sums * ld + 2 * s->H * s->O + 2 * BLOCK;
}

/* Elements of `room`. */
static long WIDE(room)(long terms, const NAME(shape) *s)
{
    long up = WIDE(at_layer)(terms, 0, s, s->L), down = WIDE(at_layer)(terms, 1, s, s->L);
    return WIDE(left_room)(terms, s) + WIDE(sums_room)(terms, s) + down + 2 * up;
}
