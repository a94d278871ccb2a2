/* Wide ReLU networks with an output layer on a processor's matrix unit (Intel AMX), which multiplies
 * bfloat16 and sums in float32, many times as fast as multiply-adds in float32. Parameters lie as in
 * mlp.h; widths of up to AMX_WIDEST. Included by native.c.
 *
 * A float32 is the exact sum of three bfloat16 values of falling size, x = h + m + l. Of the nine
 * products of two such sums, six are kept for float32 (hh, hm, mh, mm, hl, lh; what is left out is
 * below 2^-23 of the product, float32's own rounding); with two terms, three (2^-16); with one,
 * one: bfloat16. After Henry, Tang, Heinecke: Leveraging the bfloat16 Artificial Intelligence
 * Datatype For Higher-Precision Computations (ARITH 2019).
 *
 * The tape holds z [L, E, rows, H], before the activation, with rows and columns rounded up to
 * BLOCK, and stats [L, E, N, 2]; what the activation and layer norm make of z is computed again
 * where it is needed, which is faster than to read it.
 */
#define AMX_WIDEST 384
#define GROUP 192 /* rows that weights' gradients are summed over in one product */

#define MULTIPLY             \
    _tile_dpbf16ps(0, 4, 6); \
    _tile_dpbf16ps(1, 4, 7); \
    _tile_dpbf16ps(2, 5, 6); \
    _tile_dpbf16ps(3, 5, 7);
#define LOAD_LEFT(term)                         \
    _tile_loadd(4, a + (term)*PART, 2 * DEPTH); \
    _tile_loadd(5, a + (terms + (term)) * PART, 2 * DEPTH);
#define LOAD_RIGHT(term)                        \
    _tile_loadd(6, b + (term)*PART, 2 * DEPTH); \
    _tile_loadd(7, b + (terms + (term)) * PART, 2 * DEPTH);

/* 32 x 32 sums, the small products first; the order loads each tile as rarely as it can. */
static inline __attribute__((always_inline)) void
block(const int terms, long steps, const bf16 *a, const bf16 *b, float *out, long ld, int add)
{
    __asm__ volatile("" ::: "memory"); /* GCC does not know that _tile_loadd reads memory */
    if (add) {
        _tile_loadd(0, out, 4 * ld);
        _tile_loadd(1, out + TILE, 4 * ld);
        _tile_loadd(2, out + TILE * ld, 4 * ld);
        _tile_loadd(3, out + TILE * ld + TILE, 4 * ld);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (long s = 0; s < steps; s++, a += 2 * terms * PART, b += 2 * terms * PART) {
        if (terms == 3) {
            LOAD_LEFT(2) LOAD_RIGHT(0) MULTIPLY
            LOAD_LEFT(1) MULTIPLY
            LOAD_RIGHT(1) MULTIPLY
            LOAD_LEFT(0) MULTIPLY
            LOAD_RIGHT(2) MULTIPLY
            LOAD_RIGHT(0) MULTIPLY
        } else if (terms == 2) {
            LOAD_LEFT(1) LOAD_RIGHT(0) MULTIPLY
            LOAD_LEFT(0) MULTIPLY
            LOAD_RIGHT(1) MULTIPLY
        } else {
            LOAD_LEFT(0) LOAD_RIGHT(0) MULTIPLY
        }
    }
    _tile_stored(0, out, 4 * ld);
    _tile_stored(1, out + TILE, 4 * ld);
    _tile_stored(2, out + TILE * ld, 4 * ld);
    _tile_stored(3, out + TILE * ld + TILE, 4 * ld);
}

static inline long least(long a, long b) { return a < b ? a : b; }

static inline long round_up(long n) { return (n + BLOCK - 1) / BLOCK * BLOCK; }

/* out [M, N] (+)= x [M, K] and a right factor that is packed already. x's element (m, k) lies at
 * m xm + k xk, where one of the two is 1. `out`, of rows `ld` apart, has room for whole blocks. */
static inline __attribute__((always_inline)) void
multiply(const int terms, long M, long K, long N, const float *x, long xm, long xk,
         const bf16 *right, float *out, long ld, int add, bf16 *left)
{
    for (long m = 0; m < M; m += BLOCK) {
        pack_all(terms, 1, x + m * xm, xm, xk, least(M - m, BLOCK), K, left);
        for (long n = 0; n < N; n += BLOCK)
            block(terms, tiles(K), left, right + n / BLOCK * packed(terms, BLOCK, K),
                  out + m * ld + n, ld, add);
    }
}

/* Eight full tiles. Constant, as GCC may drop writes that only _tile_loadconfig would read. */
static const struct {
    unsigned char palette, start_row, reserved[14];
    unsigned short row_bytes[16];
    unsigned char rows[16];
} FULL_TILES = {
    .palette = 1,
    .row_bytes = {[0 ... 7] = 2 * DEPTH},
    .rows = {[0 ... 7] = TILE},
};

/* Right factors of all layers for going up (x w), or down (z w^T), one after the other. */
static inline __attribute__((always_inline)) void
pack_weights(const int terms, int down, const NAME(shape) *s, const float *params, bf16 *to)
{
    for (long l = 0; l < s->L; l++) {
        long width = NAME(width)(s, l), H = s->H;
        const float *w = params + NAME(offset)(s, l);
        if (down) {
            pack_all(terms, 0, w, H, 1, width, H, to);
            to += packed(terms, width, H);
        } else {
            pack_all(terms, 0, w, 1, H, H, width, to);
            to += packed(terms, H, width);
        }
    }
}

/* Where layer l's begins among them. */
static inline long at_layer(long terms, int down, const NAME(shape) *s, long l)
{
    if (!l) return 0;
    long bottom = down ? packed(terms, s->I, s->H) : packed(terms, s->H, s->I);
    return bottom + (l - 1) * packed(terms, s->H, s->H);
}

static inline __attribute__((always_inline)) void
forward(const int terms, const NAME(shape) *s, const float *x, const float *params, float *z,
        float *stats, float *y, float *work, bf16 *room)
{
    long H = s->H, N = s->N, O = s->O, last = NAME(offset)(s, s->L), ld = round_up(H);
    float *own = work, *a = own + BLOCK * ld, *own_stats = a + BLOCK * ld;
    float *wt = own_stats + 2 * BLOCK;
    bf16 *left = room, *right = room + packed(terms, BLOCK, AMX_WIDEST);
    for (long e = 0; e < s->E; e++) {
        const float *p = params + e * s->stride;
        pack_weights(terms, 0, s, p, right);
        NAME(transpose)(H, O, p + last, wt);
        for (long n = 0; n < N; n += BLOCK) {
            long R = least(N - n, BLOCK), in_ld = s->I;
            const float *in = x + e * s->xs + n * s->I;
            for (long l = 0; l < s->L; l++) {
                long member = l * s->E + e, width = NAME(width)(s, l);
                const float *b = p + NAME(offset)(s, l) + width * H;
                float *zr = z ? z + (member * round_up(N) + n) * ld : own;
                float *st = z ? stats + 2 * (member * N + n) : own_stats;
                multiply(terms, R, width, H, in, in_ld, 1, right + at_layer(terms, 0, s, l), zr,
                         ld, 0, left);
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
backward(const int terms, const NAME(shape) *s, const float *x, const float *params,
         const float *z, const float *stats, const float *dy, float *grads, long gstride,
         float *dx, float *work, bf16 *room)
{
    long H = s->H, N = s->N, O = s->O, I = s->I, L = s->L, last = NAME(offset)(s, L);
    long ld = round_up(H);
    float *da = work, *a = da + BLOCK * ld, *dz = a + GROUP * ld, *above = dz + GROUP * ld;
    float *sums = above + GROUP * ld, *wt = sums + (round_up(I) + (L - 1) * ld) * ld, *gt = wt + H * O;
    bf16 *left = room, *right = left + packed(terms, BLOCK, AMX_WIDEST);
    bf16 *weights = right + packed(terms, AMX_WIDEST, GROUP);
    for (long e = 0; e < s->E; e++) {
        const float *p = params + e * s->stride;
        float *g = grads ? grads + e * gstride : NULL;
        if (g) {
            NAME(zero)(g, last + (H + 1) * O);
            NAME(zero)(sums, (round_up(I) + (L - 1) * ld) * ld);
            NAME(zero)(gt, H * O);
        }
        pack_weights(terms, 1, s, p, weights);
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
                        multiply(terms, B, H, H, above + b * ld, ld, 1,
                                 weights + at_layer(terms, 1, s, l + 1), da, ld, 0, left);
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
                    pack_all(terms, 0, dz, 1, ld, H, R, right);
                    multiply(terms, width, R, H, in, 1, l ? ld : I, right,
                             sums + (l ? round_up(I) + (l - 1) * ld : 0) * ld, ld, 1, left);
                }
                float *swap = above;
                above = dz;
                dz = swap;
            }
            for (long b = 0; dx && b < R; b += BLOCK) {
                long B = least(R - b, BLOCK);
                multiply(terms, B, H, I, above + b * ld, ld, 1, weights, da, round_up(I), 0, left);
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
parameter_tangent(const int terms, const NAME(shape) *s, const float *x, const float *params,
                  const float *v, long vstride, const float *z, const float *stats, float *yd,
                  float *work, bf16 *room)
{
    long H = s->H, N = s->N, O = s->O, L = s->L, last = NAME(offset)(s, L), ld = round_up(H);
    float *a = work, *zd = a + BLOCK * ld, *xd = zd + BLOCK * ld, *wt = xd + BLOCK * ld, *vt = wt + H * O;
    bf16 *left = room, *right = left + packed(terms, BLOCK, AMX_WIDEST);
    bf16 *moved = right + at_layer(terms, 0, s, L);
    for (long e = 0; e < s->E; e++) {
        const float *p = params + e * s->stride, *q = v + e * vstride;
        pack_weights(terms, 0, s, p, right);
        pack_weights(terms, 0, s, q, moved);
        NAME(transpose)(H, O, p + last, wt);
        NAME(transpose)(H, O, q + last, vt);
        for (long n = 0; n < N; n += BLOCK) {
            long R = least(N - n, BLOCK), in_ld = s->I;
            const float *in = x + e * s->xs + n * s->I;
            for (long l = 0; l < L; l++) {
                long member = l * s->E + e, at = NAME(offset)(s, l) + NAME(width)(s, l) * H;
                const float *zr = z + (member * round_up(N) + n) * ld, *gamma = p + at + H;
                const float *st = stats + 2 * (member * N + n);
                long of_layer = at_layer(terms, 0, s, l);
                multiply(terms, R, NAME(width)(s, l), H, in, in_ld, 1, moved + of_layer, zd, ld, 0, left);
                if (l) multiply(terms, R, H, H, xd, ld, 1, right + of_layer, zd, ld, 1, left);
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

/* One of the three, with the number of terms known to the compiler. */
#define FOR_TERMS(call)            \
    _tile_loadconfig(&FULL_TILES); \
    if (terms == 3) {              \
        const int terms = 3;       \
        call;                      \
    } else if (terms == 2) {       \
        const int terms = 2;       \
        call;                      \
    } else {                       \
        const int terms = 1;       \
        call;                      \
    }                              \
    _tile_release();

/* bfloat16 values of `room`, and floats of `work`, for any of them; both start at a multiple of 64
 * bytes. */
long metagenrl_amx_room(long terms, const NAME(shape) *s)
{
    long up = at_layer(terms, 0, s, s->L), down = at_layer(terms, 1, s, s->L);
    return packed(terms, BLOCK, AMX_WIDEST) + packed(terms, AMX_WIDEST, GROUP) + down + 2 * up;
}

long metagenrl_amx_work(const NAME(shape) *s)
{
    long ld = round_up(s->H), sums = round_up(s->I) + (s->L - 1) * ld;
    long block = BLOCK * (ld > round_up(s->I) ? ld : round_up(s->I));
    return 3 * (block + GROUP * ld) + sums * ld + 2 * s->H * s->O + 2 * BLOCK;
}

/* y [E, N, O] of x [1 or E, N, I]; without a tape where z is NULL. */
void NAME(amx_forward)(long terms, const NAME(shape) *s, const float *x, const float *params,
                       float *z, float *stats, float *y, float *work, bf16 *room)
{
    FOR_TERMS(forward(terms, s, x, params, z, stats, y, work, room))
}

/* Adjoint: dy [E, N, O] to grads (written, may be NULL) and dx [E, N, I] (may be NULL). */
void NAME(amx_backward)(long terms, const NAME(shape) *s, const float *x, const float *params,
                        const float *z, const float *stats, const float *dy, float *grads,
                        long gstride, float *dx, float *work, bf16 *room)
{
    FOR_TERMS(backward(terms, s, x, params, z, stats, dy, grads, gstride, dx, work, room))
}

/* Tangent along the direction v of the parameters: yd [E, N, O]. */
void NAME(amx_parameter_tangent)(long terms, const NAME(shape) *s, const float *x,
                                 const float *params, const float *v, long vstride, const float *z,
                                 const float *stats, float *yd, float *work, bf16 *room)
{
    FOR_TERMS(parameter_tangent(terms, s, x, params, v, vstride, z, stats, yd, work, room))
}
