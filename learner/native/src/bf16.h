/* Activation and layer norm between bfloat16 matrix products: read and written in bfloat16,
 * computed in float. Included by layers.h for float only.
 *
 * z is the product without its bias, y what the next product reads; statistics and the gradients
 * of the parameters stay in float. learner/networks/mlp_bfloat16.py holds the same in plain torch.
 */

typedef unsigned short NAME(bf16);

static inline float NAME(widen)(NAME(bf16) x)
{
    unsigned bits = (unsigned)x << 16;
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

/* To the nearest, ties to even; NaN stays NaN. */
static inline NAME(bf16) NAME(narrow)(float x)
{
    unsigned bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    unsigned rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (NAME(bf16))((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded);
}

/* y = layer_norm(act(z + bias)) * gamma + beta; stats[row] = (mean, 1 / std). work: 2 H. */
void NAME(bf16_act_ln)(long E, long N, long H, long relu, const NAME(bf16) *restrict z,
                       const float *restrict bias, const float *restrict gamma,
                       const float *restrict beta, NAME(bf16) *restrict y,
                       float *restrict stats, float *restrict work)
{
    float *zb = work, *u = work + H;
    for (long e = 0; e < E; e++)
        for (long n = 0; n < N; n++) {
            long row = e * N + n;
            const NAME(bf16) *zr = z + row * H;
            NAME(bf16) *yr = y + row * H;
            const float *b = bias + e * H, *g = gamma + e * H, *bt = beta + e * H;
            for (long j = 0; j < H; j++) zb[j] = NAME(widen)(zr[j]) + b[j];
            NAME(activate)(H, relu, zb, u);
            float sum = 0, square = 0;
            for (long j = 0; j < H; j++) sum += u[j];
            float mean = sum / H;
            for (long j = 0; j < H; j++) square += (u[j] - mean) * (u[j] - mean);
            float rstd = 1.0f / sqrtf(square / H + (float)LAYER_NORM_EPS);
            for (long j = 0; j < H; j++)
                yr[j] = NAME(narrow)((u[j] - mean) * rstd * g[j] + bt[j]);
            stats[2 * row] = mean;
            stats[2 * row + 1] = rstd;
        }
}

/* Adjoint of bf16_act_ln. The parameters' gradients [E, H] are added to; NULL: not wanted. */
void NAME(bf16_act_ln_backward)(long E, long N, long H, long relu, const NAME(bf16) *restrict dy,
                                const NAME(bf16) *restrict z, const float *restrict stats,
                                const float *restrict bias, const float *restrict gamma,
                                NAME(bf16) *restrict dz, float *restrict dgamma,
                                float *restrict dbeta, float *restrict dbias,
                                float *restrict work)
{
    float *zb = work, *xhat = work + H, *a = work + 2 * H, *d = work + 3 * H;
    for (long e = 0; e < E; e++)
        for (long n = 0; n < N; n++) {
            long row = e * N + n;
            const NAME(bf16) *zr = z + row * H, *dyr = dy + row * H;
            NAME(bf16) *dzr = dz + row * H;
            const float *b = bias + e * H, *g = gamma + e * H;
            float mean = stats[2 * row], rstd = stats[2 * row + 1], sa = 0, sax = 0;
            for (long j = 0; j < H; j++) zb[j] = NAME(widen)(zr[j]) + b[j];
            NAME(activate)(H, relu, zb, xhat);
            for (long j = 0; j < H; j++) {
                d[j] = NAME(widen)(dyr[j]);
                xhat[j] = (xhat[j] - mean) * rstd;
                a[j] = d[j] * g[j];
                sa += a[j];
                sax += a[j] * xhat[j];
            }
            if (dgamma) {
                float *dg = dgamma + e * H, *db = dbeta + e * H;
                for (long j = 0; j < H; j++) {
                    dg[j] += d[j] * xhat[j];
                    db[j] += d[j];
                }
            }
            sa /= H;
            sax /= H;
            for (long j = 0; j < H; j++) a[j] = rstd * (a[j] - sa - xhat[j] * sax);
            NAME(activate_grad)(H, relu, zb, a);
            if (dbias)
                for (long j = 0; j < H; j++) dbias[e * H + j] += a[j];
            for (long j = 0; j < H; j++) dzr[j] = NAME(narrow)(a[j]);
        }
}
