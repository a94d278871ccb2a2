/* wide_pass.h on a processor's matrix unit (Intel AMX), which multiplies bfloat16 and sums in
 * float32, many times as fast as multiply-adds in float32. Widths of up to AMX_WIDEST. Included by
 * native.c.
 *
 * A float32 is the exact sum of three bfloat16 values of falling size, x = h + m + l. Of the nine
 * products of two such sums, six are kept for float32 (hh, hm, mh, mm, hl, lh; what is left out is
 * below 2^-23 of the product, float32's own rounding); with two terms, three (2^-16); with one,
 * one: bfloat16. After Henry, Tang, Heinecke: Leveraging the bfloat16 Artificial Intelligence
 * Datatype For Higher-Precision Computations (ARITH 2019).
 */
#define AMX_WIDEST 384
#define GROUP 192
#define PACKED bf16
#define WIDE(x) JOIN(x, amx)

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

/* out [M, N] (+)= x [M, K] and a right factor that is packed already. x's element (m, k) lies at
 * m xm + k xk, where one of the two is 1. `out`, of rows `ld` apart, has room for whole blocks. */
static inline __attribute__((always_inline)) void
WIDE(product)(const int terms, long M, long K, long N, const float *x, long xm, long xk,
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
WIDE(pack_weights)(const int terms, int down, const NAME(shape) *s, const float *params, bf16 *to)
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
static inline long WIDE(at_layer)(long terms, int down, const NAME(shape) *s, long l)
{
    if (!l) return 0;
    long bottom = down ? packed(terms, s->I, s->H) : packed(terms, s->H, s->I);
    return bottom + (l - 1) * packed(terms, s->H, s->H);
}

/* out [M, N] (+)= x [M, K], whose rows lie `ldx` apart, and a packed right factor. `soon` is not used. */
static inline __attribute__((always_inline)) void
WIDE(multiply)(const int terms, long M, long K, long N, const float *x, long ldx, const bf16 *right,
               float *out, long ld, int add, bf16 *left, const float *soon)
{
    (void)soon;
    WIDE(product)(terms, M, K, N, x, ldx, 1, right, out, ld, add, left);
}

/* out [M, N] += x [R, M]^T dz [R, N]; rows of dz and out lie `ld` apart, those of x `ldx`. */
static inline __attribute__((always_inline)) void
WIDE(add_sums)(const int terms, long M, long R, long N, const float *x, long ldx, const float *dz,
               float *out, long ld, bf16 *left, bf16 *right)
{
    pack_all(terms, 0, dz, 1, ld, N, R, right);
    WIDE(product)(terms, M, R, N, x, 1, ldx, right, out, ld, 1, left);
}

/* Room for a left factor, and for the right one of `add_sums`. */
static inline long WIDE(left_room)(long terms, const NAME(shape) *s)
{
    (void)s;
    return packed(terms, BLOCK, AMX_WIDEST);
}

static inline long WIDE(sums_room)(long terms, const NAME(shape) *s)
{
    (void)s;
    return packed(terms, AMX_WIDEST, GROUP);
}

#include "wide_pass.h"

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
long metagenrl_amx_room(long terms, const NAME(shape) *s) { return WIDE(room)(terms, s); }

long metagenrl_amx_work(const NAME(shape) *s) { return WIDE(work)(s); }

/* y [E, N, O] of x [1 or E, N, I]; without a tape where z is NULL. */
void NAME(amx_forward)(long terms, const NAME(shape) *s, const float *x, const float *params,
                       float *z, float *stats, float *y, float *work, bf16 *room)
{
    FOR_TERMS(WIDE(forward)(terms, s, x, params, z, stats, y, work, room))
}

/* Adjoint: dy [E, N, O] to grads (written, may be NULL) and dx [E, N, I] (may be NULL). */
void NAME(amx_backward)(long terms, const NAME(shape) *s, const float *x, const float *params,
                        const float *z, const float *stats, const float *dy, float *grads,
                        long gstride, float *dx, float *work, bf16 *room)
{
    FOR_TERMS(WIDE(backward)(terms, s, x, params, z, stats, dy, grads, gstride, dx, work, room))
}

/* Tangent along the direction v of the parameters: yd [E, N, O]. */
void NAME(amx_parameter_tangent)(long terms, const NAME(shape) *s, const float *x,
                                 const float *params, const float *v, long vstride, const float *z,
                                 const float *stats, float *yd, float *work, bf16 *room)
{
    FOR_TERMS(WIDE(parameter_tangent)(terms, s, x, params, v, vstride, z, stats, yd, work, room))
}

#undef BLOCK
#undef GROUP
#undef PACKED
#undef WIDE
