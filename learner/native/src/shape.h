/* The sizes of a network, and where its parameters lie; see mlp.h. */

typedef struct {
    long E, N, I, H, L, O, relu, xs, stride;
} NAME(shape);

static inline long NAME(width)(const NAME(shape) *s, long l) { return l ? s->H : s->I; }

/* Offset of layer l's weights; its bias, gamma and beta follow. */
static inline long NAME(offset)(const NAME(shape) *s, long l)
{
    return l ? (s->I + 3) * s->H + (l - 1) * (s->H + 3) * s->H : 0;
}

static void NAME(zero)(REAL *restrict x, long n)
{
    for (long i = 0; i < n; i++) x[i] = 0;
}

static void NAME(transpose)(long R, long C, const REAL *restrict x, REAL *restrict out)
{
    for (long r = 0; r < R; r++)
        for (long c = 0; c < C; c++) out[c * R + r] = x[r * C + c];
}
