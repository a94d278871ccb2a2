/* The learned objective and its derivatives, one call each: objective/derivatives.py put together.
 *
 * Included by layers.h after the networks it is made of. For the paper's shape of L_alpha:
 * one LSTM that runs backwards in time, and no observation among its inputs. alpha lies as
 * objective/net.py lays it out: action network, feature network, LSTM, head. n = B T rows,
 * m = n A pairs of actions. `sign` [B] reflects a segment's actions; NULL: none is.
 */

#define CHUNK 32 /* rows at a time, so that they stay in the L1 cache between products */

typedef struct {
    long B, T, A, F, H, U, C; /* segments, steps, actions, features, hidden, LSTM, constants */
    long I;                   /* numbers of an action: 2, or 3 with the critic's direction */
    double eta;
} NAME(objective);

/* Places in alpha, and in a vector of gradients. */
typedef struct {
    long w0, b0, w1, b1, w2, b2, w_action, w_constant, w_recurrent, b, head, size;
} NAME(alpha);

/* Places in the tape that `objective_forward` leaves. */
typedef struct {
    long pairs, az, astats, embedded, z0, x1, z1, x2, constant, gates, h, c, hz, hstats, bounded, slope, size;
} NAME(tape);

static NAME(shape) NAME(action_net)(const NAME(objective) *o)
{
    return (NAME(shape)){1, o->B * o->T * o->A, o->I, o->H, 3, 0, o->H / 2, 0, 0};
}

static NAME(shape) NAME(head_net)(const NAME(objective) *o)
{
    return (NAME(shape)){1, o->B * o->T, o->U, o->H, 2, 1, o->H / 2, 0, 0};
}

/* The next `count` elements, from a whole cache line on. */
static long NAME(take)(long *at, long count)
{
    long place = *at;
    *at += (count + 15) / 16 * 16;
    return place;
}

static NAME(alpha) NAME(alpha_places)(const NAME(objective) *o)
{
    NAME(shape) action = NAME(action_net)(o), head = NAME(head_net)(o);
    NAME(alpha) p;
    long G = 4 * o->U;
    p.w0 = NAME(offset)(&action, action.L);
    p.b0 = p.w0 + o->F * o->H;
    p.w1 = p.b0 + o->H;
    p.b1 = p.w1 + o->H * o->H;
    p.w2 = p.b1 + o->H;
    p.b2 = p.w2 + o->H * o->C;
    p.w_action = p.b2 + o->C;
    p.w_constant = p.w_action + o->H * G;
    p.w_recurrent = p.w_constant + o->C * G;
    p.b = p.w_recurrent + o->U * G;
    p.head = p.b + G;
    p.size = p.head + NAME(offset)(&head, head.L) + o->H + 1;
    return p;
}

static NAME(tape) NAME(tape_places)(const NAME(objective) *o)
{
    long n = o->B * o->T, m = n * o->A, at = 0;
    NAME(tape) t;
    t.pairs = NAME(take)(&at, m * o->I);
    t.az = NAME(take)(&at, 3 * m * o->H);
    t.astats = NAME(take)(&at, 3 * m * 2);
    t.embedded = NAME(take)(&at, n * o->H);
    t.z0 = NAME(take)(&at, n * o->H);
    t.x1 = NAME(take)(&at, n * o->H);
    t.z1 = NAME(take)(&at, n * o->H);
    t.x2 = NAME(take)(&at, n * o->H);
    t.constant = NAME(take)(&at, n * o->C);
    t.gates = NAME(take)(&at, n * 4 * o->U);
    t.h = NAME(take)(&at, n * o->U);
    t.c = NAME(take)(&at, n * o->U);
    t.hz = NAME(take)(&at, 2 * n * o->H);
    t.hstats = NAME(take)(&at, 2 * n * 2);
    t.bounded = NAME(take)(&at, n);
    t.slope = NAME(take)(&at, n);
    t.size = at;
    return t;
}

/* Elements of the tape, and of the scratch that any of the calls needs. */
void NAME(objective_room)(const NAME(objective) *o, long *room)
{
    long n = o->B * o->T, m = n * o->A, H = o->H, G = 4 * o->U;
    room[0] = NAME(tape_places)(o).size;
    /* what objective_alpha_gradient takes, whose callees' own needs come last */
    room[1] = m * (3 * o->I + 5 * H) + n * (5 * H + 3 * G + 4 * o->U + o->C + 1) + G * (H + o->U + o->C)
              + NAME(alpha_places)(o).size + (7 * CHUNK + 8) * (H + o->U) + 16 * 32;
}

/* (a_t, pi_t) and the critic's direction, or their tangents (0, u, 0), with each segment's sign. */
static void NAME(pair)(const NAME(objective) *o, const REAL *restrict a, const REAL *restrict pi,
                       const REAL *restrict direction, const REAL *restrict sign, REAL *restrict pairs)
{
    long one = o->T * o->A;
    for (long b = 0; b < o->B; b++) {
        REAL s = sign ? sign[b] : 1;
        for (long i = b * one; i < (b + 1) * one; i++) {
            pairs[o->I * i] = a ? s * a[i] : 0;
            pairs[o->I * i + 1] = s * pi[i];
            if (o->I > 2) pairs[o->I * i + 2] = direction ? s * direction[i] : 0;
        }
    }
}

/* The policy's part of the pairs' adjoint: [m, I] -> [n, A]. */
static void NAME(of_policy)(const NAME(objective) *o, const REAL *restrict pairs,
                            const REAL *restrict sign, REAL *restrict out)
{
    long one = o->T * o->A;
    for (long b = 0; b < o->B; b++)
        for (long i = b * one; i < (b + 1) * one; i++)
            out[i] = (sign ? sign[b] : 1) * pairs[o->I * i + 1];
}

/* Mean over action dimensions: [m, H] -> [n, H]. */
static void NAME(mean_over_actions)(long n, long A, long H, const REAL *restrict x, REAL *restrict mean)
{
    REAL share = (REAL)1 / A;
    for (long r = 0; r < n; r++) {
        const REAL *xr = x + r * A * H;
        for (long j = 0; j < H; j++) mean[r * H + j] = xr[j];
        for (long k = 1; k < A; k++)
            for (long j = 0; j < H; j++) mean[r * H + j] += xr[k * H + j];
        for (long j = 0; j < H; j++) mean[r * H + j] *= share;
    }
}

/* Its adjoint: [n, H] -> [m, H]. */
static void NAME(over_actions)(long n, long A, long H, const REAL *restrict mean, REAL *restrict x)
{
    REAL share = (REAL)1 / A;
    for (long r = 0; r < n; r++)
        for (long k = 0; k < A; k++)
            for (long j = 0; j < H; j++) x[(r * A + k) * H + j] = mean[r * H + j] * share;
}

/* out[n, N] = b (NULL: 0) + x[n, K] w[K, N] */
static void NAME(linear)(long n, long K, long N, const REAL *restrict x, const REAL *restrict w,
                         const REAL *restrict b, REAL *restrict out)
{
    for (long i = 0; i < n; i++)
        for (long j = 0; j < N; j++) out[i * N + j] = b ? b[j] : 0;
    for (long i = 0; i < n; i += CHUNK)
        NAME(gemm)(n - i < CHUNK ? n - i : CHUNK, K, N, x + i * K, K, w, out + i * N, N);
}

static void NAME(column_sums)(long n, long N, const REAL *restrict x, REAL *restrict sums)
{
    for (long i = 0; i < n; i++)
        for (long j = 0; j < N; j++) sums[j] += x[i * N + j];
}

/* The next state's row in a segment, as the LSTM saw it: zero behind the last. */
static void NAME(previous)(const NAME(objective) *o, const REAL *restrict h, REAL *restrict out)
{
    long U = o->U;
    for (long b = 0; b < o->B; b++) {
        long row = b * o->T;
        memcpy(out + row * U, h + (row + 1) * U, (o->T - 1) * U * sizeof(REAL));
        NAME(zero)(out + (row + o->T - 1) * U, U);
    }
}

/* l_t to `loss` [n], and the tape. */
void NAME(objective_forward)(const NAME(objective) *o, const REAL *restrict alpha,
                             const REAL *restrict actions, const REAL *restrict pi,
                             const REAL *restrict direction, const REAL *restrict sign,
                             const REAL *restrict features,
                             const REAL *restrict mask, REAL *restrict tape, REAL *restrict loss,
                             REAL *restrict work)
{
    long n = o->B * o->T, m = n * o->A, H = o->H, G = 4 * o->U;
    NAME(shape) action = NAME(action_net)(o), head = NAME(head_net)(o);
    NAME(alpha) p = NAME(alpha_places)(o);
    NAME(tape) t = NAME(tape_places)(o);
    NAME(pair)(o, actions, pi, direction, sign, tape + t.pairs);
    NAME(mlp_forward)(&action, tape + t.pairs, alpha, tape + t.az, tape + t.astats, work, work + m * H);
    NAME(mean_over_actions)(n, o->A, H, work, tape + t.embedded);
    NAME(linear)(n, o->F, H, features, alpha + p.w0, alpha + p.b0, tape + t.z0);
    for (long i = 0; i < n; i++) NAME(activate)(H, H / 2, tape + t.z0 + i * H, tape + t.x1 + i * H);
    NAME(linear)(n, H, H, tape + t.x1, alpha + p.w1, alpha + p.b1, tape + t.z1);
    for (long i = 0; i < n; i++) NAME(activate)(H, H / 2, tape + t.z1 + i * H, tape + t.x2 + i * H);
    NAME(linear)(n, H, o->C, tape + t.x2, alpha + p.w2, alpha + p.b2, tape + t.constant);
    NAME(linear)(n, o->C, G, tape + t.constant, alpha + p.w_constant, alpha + p.b, tape + t.gates);
    for (long i = 0; i < n; i += CHUNK)
        NAME(gemm)(n - i < CHUNK ? n - i : CHUNK, H, G, tape + t.embedded + i * H, H, alpha + p.w_action,
                   tape + t.gates + i * G, G);
    NAME(lstm)(o->B, o->T, o->U, 1, alpha + p.w_recurrent, mask, tape + t.gates, tape + t.h, tape + t.c);
    REAL *y = tape + t.bounded, *slope = tape + t.slope, eta = o->eta;
    NAME(mlp_forward)(&head, tape + t.h, alpha + p.head, tape + t.hz, tape + t.hstats, y, work);
    for (long i = 0; i < n; i++) {
        y[i] = NAME(tanh)(y[i] / eta);
        slope[i] = (1 - y[i] * y[i]) * mask[i];
        loss[i] = eta * y[i] * mask[i];
    }
}

/* dL/d pi [n, A], where L is the sum of l_t. */
void NAME(objective_action_gradient)(const NAME(objective) *o, const REAL *restrict alpha,
                                     const REAL *restrict sign, const REAL *restrict mask,
                                     const REAL *restrict tape, REAL *restrict gradient,
                                     REAL *restrict work)
{
    long n = o->B * o->T, m = n * o->A, H = o->H, U = o->U, G = 4 * U, at = 0;
    NAME(shape) action = NAME(action_net)(o), head = NAME(head_net)(o);
    NAME(alpha) p = NAME(alpha_places)(o);
    NAME(tape) t = NAME(tape_places)(o);
    REAL *dh = work + NAME(take)(&at, n * U), *wt = work + NAME(take)(&at, G * U);
    REAL *gates = work + NAME(take)(&at, n * G), *wat = work + NAME(take)(&at, G * H);
    REAL *embedded = work + NAME(take)(&at, n * H), *spread = work + NAME(take)(&at, m * H);
    REAL *pairs = work + NAME(take)(&at, m * o->I), *rest = work + at;
    NAME(mlp_backward)(&head, tape + t.h, alpha + p.head, tape + t.hz, tape + t.hstats,
                       tape + t.slope, NULL, 0, dh, rest);
    NAME(transpose)(U, G, alpha + p.w_recurrent, wt);
    NAME(lstm_backward)(o->B, o->T, U, 1, wt, mask, tape + t.gates, tape + t.c, dh, gates, rest);
    NAME(transpose)(H, G, alpha + p.w_action, wat);
    NAME(linear)(n, G, H, gates, wat, NULL, embedded);
    NAME(over_actions)(n, o->A, H, embedded, spread);
    NAME(mlp_backward)(&action, tape + t.pairs, alpha, tape + t.az, tape + t.astats, spread,
                       NULL, 0, pairs, rest);
    NAME(of_policy)(o, pairs, sign, gradient);
}

/* Adds to `grads` what the constants' adjoint `dy` [n, C] makes of the feature network. */
static void NAME(features_backward)(const NAME(objective) *o, const REAL *restrict alpha,
                                    const REAL *restrict features, const REAL *restrict tape,
                                    const REAL *restrict dy, REAL *restrict grads, REAL *restrict work)
{
    long n = o->B * o->T, H = o->H, C = o->C, at = 0;
    NAME(alpha) p = NAME(alpha_places)(o);
    NAME(tape) t = NAME(tape_places)(o);
    REAL *w2 = work + NAME(take)(&at, C * H), *w1 = work + NAME(take)(&at, H * H);
    REAL *d = work + NAME(take)(&at, CHUNK * H), *e = work + NAME(take)(&at, CHUNK * H);
    NAME(transpose)(H, C, alpha + p.w2, w2);
    NAME(transpose)(H, H, alpha + p.w1, w1);
    for (long i = 0; i < n; i += CHUNK) {
        long R = n - i < CHUNK ? n - i : CHUNK;
        NAME(gemm_t)(H, R, C, tape + t.x2 + i * H, H, dy + i * C, grads + p.w2, C);
        NAME(column_sums)(R, C, dy + i * C, grads + p.b2);
        NAME(linear)(R, C, H, dy + i * C, w2, NULL, d);
        for (long r = 0; r < R; r++) NAME(activate_grad)(H, H / 2, tape + t.z1 + (i + r) * H, d + r * H);
        NAME(gemm_t)(H, R, H, tape + t.x1 + i * H, H, d, grads + p.w1, H);
        NAME(column_sums)(R, H, d, grads + p.b1);
        NAME(linear)(R, H, H, d, w1, NULL, e);
        for (long r = 0; r < R; r++) NAME(activate_grad)(H, H / 2, tape + t.z0 + (i + r) * H, e + r * H);
        NAME(gemm_t)(o->F, R, H, features + i * o->F, o->F, e, grads + p.w0, H);
        NAME(column_sums)(R, H, e, grads + p.b0);
    }
}

/* d/d alpha <dL/d pi, u> to `grads` and, unless NULL, d/d pi of it to `curvature` [n, A]; for u [n, A]. */
void NAME(objective_alpha_gradient)(const NAME(objective) *o, const REAL *restrict alpha,
                                    const REAL *restrict sign, const REAL *restrict features,
                                    const REAL *restrict mask, const REAL *restrict tape,
                                    const REAL *restrict u, REAL *restrict grads, REAL *restrict curvature,
                                    REAL *restrict work)
{
    long n = o->B * o->T, m = n * o->A, H = o->H, U = o->U, G = 4 * U, C = o->C, at = 0;
    NAME(shape) action = NAME(action_net)(o), head = NAME(head_net)(o);
    NAME(alpha) p = NAME(alpha_places)(o);
    NAME(tape) t = NAME(tape_places)(o);
    REAL *pairs = work + NAME(take)(&at, m * o->I), *azd = work + NAME(take)(&at, 3 * m * H);
    REAL *over = work + NAME(take)(&at, m * H), *embedded = work + NAME(take)(&at, n * H);
    REAL *zd = work + NAME(take)(&at, n * G), *hd = work + NAME(take)(&at, n * U), *cd = work + NAME(take)(&at, n * U);
    REAL *ay = work + NAME(take)(&at, n), *ah = work + NAME(take)(&at, n * U), *ahd = work + NAME(take)(&at, n * U);
    REAL *ax = work + NAME(take)(&at, n * G), *axd = work + NAME(take)(&at, n * G);
    REAL *wt = work + NAME(take)(&at, G * (H > U ? H : U)), *wct = work + NAME(take)(&at, G * C);
    REAL *de = work + NAME(take)(&at, n * H), *ded = work + NAME(take)(&at, n * H), *dc = work + NAME(take)(&at, n * C);
    REAL *hzd = work + NAME(take)(&at, 2 * n * H), *rest = work + at;
    NAME(zero)(grads, p.size);
    /* tangent */
    NAME(pair)(o, NULL, u, NULL, sign, pairs);
    NAME(mlp_input_tangent)(&action, pairs, alpha, tape + t.az, tape + t.astats, azd, over, rest);
    NAME(mean_over_actions)(n, o->A, H, over, embedded);
    NAME(linear)(n, H, G, embedded, alpha + p.w_action, NULL, zd);
    NAME(lstm_tangent)(o->B, o->T, U, 1, alpha + p.w_recurrent, mask, tape + t.gates, tape + t.c, zd, hd, cd);
    NAME(mlp_input_tangent)(&head, hd, alpha + p.head, tape + t.hz, tape + t.hstats, hzd, ay, rest);
    for (long i = 0; i < n; i++) ay[i] *= tape[t.slope + i] * tape[t.bounded + i] * (REAL)(-2 / o->eta);
    /* adjoint of both */
    NAME(mlp_dual_backward)(&head, tape + t.h, hd, alpha + p.head, tape + t.hz, tape + t.hstats,
                            hzd, ay, tape + t.slope, grads + p.head, 0, ah, ahd, rest);
    NAME(transpose)(U, G, alpha + p.w_recurrent, wt);
    NAME(lstm_dual_backward)(o->B, o->T, U, 1, wt, mask, tape + t.gates, tape + t.c, zd, cd, ah, ahd, ax, axd, rest);
    NAME(previous)(o, tape + t.h, ah);
    NAME(previous)(o, hd, ahd);
    NAME(transpose)(H, G, alpha + p.w_action, wt);
    NAME(transpose)(C, G, alpha + p.w_constant, wct);
    for (long i = 0; i < n; i += CHUNK) {
        long R = n - i < CHUNK ? n - i : CHUNK;
        const REAL *x = ax + i * G, *xd = axd + i * G;
        NAME(column_sums)(R, G, x, grads + p.b);
        NAME(gemm_t)(C, R, G, tape + t.constant + i * C, C, x, grads + p.w_constant, G);
        NAME(gemm_t)(H, R, G, tape + t.embedded + i * H, H, x, grads + p.w_action, G);
        NAME(gemm_t)(H, R, G, embedded + i * H, H, xd, grads + p.w_action, G);
        NAME(gemm_t)(U, R, G, ah + i * U, U, x, grads + p.w_recurrent, G);
        NAME(gemm_t)(U, R, G, ahd + i * U, U, xd, grads + p.w_recurrent, G);
        NAME(linear)(R, G, H, x, wt, NULL, de + i * H);
        NAME(linear)(R, G, H, xd, wt, NULL, ded + i * H);
        NAME(linear)(R, G, C, x, wct, NULL, dc + i * C);
    }
    NAME(features_backward)(o, alpha, features, tape, dc, grads, rest);
    REAL *over_d = rest;
    NAME(over_actions)(n, o->A, H, de, over);
    NAME(over_actions)(n, o->A, H, ded, over_d);
    REAL *dx = curvature ? rest + m * H : NULL, *dxd = curvature ? dx + m * o->I : NULL;
    NAME(mlp_dual_backward)(&action, tape + t.pairs, pairs, alpha, tape + t.az, tape + t.astats,
                            azd, over, over_d, grads, 0, dx, dxd, rest + m * (H + 2 * o->I));
    if (curvature) NAME(of_policy)(o, dx, sign, curvature);
}

typedef struct {
    long B, T, time, value, next, advantage; /* the last four: which inputs the variant has */
    long scheme;                             /* 0 z-scores, 1 on one scale, 2 temporal differences */
    double discount;
} NAME(features);

/* 1 / std, and 0 for a constant: objective/inputs.py. */
static double NAME(inverse_std)(double variance, double mean)
{
    double rounding = 1e-6 * mean;
    return variance > 1e-8 + rounding * rounding ? 1 / sqrt(variance) : 0;
}

/* Mean over valid entries, and mean square distance from it, of x and, unless NULL, of y. */
static void NAME(moments)(long n, double count, const REAL *restrict mask, const REAL *restrict x,
                          const REAL *restrict y, double *mean, double *variance)
{
    double sum = 0, square = 0;
    for (long i = 0; i < n; i++) sum += (double)mask[i] * (y ? x[i] + (double)y[i] : x[i]);
    count *= y ? 2 : 1;
    *mean = sum / count;
    for (long i = 0; i < n; i++) {
        double dx = x[i] - *mean, dy = y ? y[i] - *mean : 0;
        square += mask[i] * (dx * dx + dy * dy);
    }
    *variance = square / count;
}

/* The constant inputs [n, F] of L_alpha. v, v_next, q: unused, and NULL, where the variant has none.
 * `work` [n]. */
void NAME(objective_features)(const NAME(features) *f, const REAL *restrict rewards,
                              const REAL *restrict v, const REAL *restrict v_next, const REAL *restrict q,
                              const REAL *restrict terminated, const REAL *restrict mask,
                              REAL *restrict out, REAL *restrict work)
{
    long n = f->B * f->T, F = 1 + f->time + f->value + f->next + f->advantage, joint = f->value && f->scheme == 1;
    double count = 0, mr, vr, mean = 0, variance = 0, reward_scale, scale = 0, next_scale, advantage_scale = 0;
    for (long i = 0; i < n; i++) count += mask[i];
    count = count < 1 ? 1 : count;
    NAME(moments)(n, count, mask, rewards, NULL, &mr, &vr);
    if (f->value) {
        for (long i = 0; i < n; i++) work[i] = joint ? v_next[i] * (1 - terminated[i]) : v_next[i];
        NAME(moments)(n, count, mask, v, work, &mean, &variance);
    }
    if (joint) variance += vr + mr * mr; /* and the mean square of the rewards, which stay as they are */
    next_scale = scale = NAME(inverse_std)(variance, mean);
    reward_scale = joint ? scale : NAME(inverse_std)(vr, mr);
    if (f->value && f->scheme == 2) {
        double square = 0, level = 0;
        for (long i = 0; i < n; i++) {
            double delta = mask[i] * (rewards[i] + f->discount * (1 - terminated[i]) * v_next[i] - v[i]);
            work[i] = delta;
            square += delta * delta;
            level += mask[i] * v[i];
        }
        next_scale = NAME(inverse_std)(square / count, level / count);
    }
    if (f->advantage) {
        double square = 0, level = 0;
        for (long i = 0; i < n; i++) {
            double advantage = mask[i] * (q[i] - v[i]);
            square += advantage * advantage;
            level += mask[i] * v[i];
        }
        advantage_scale = NAME(inverse_std)(square / count, level / count);
    }
    for (long i = 0; i < n; i++) {
        REAL *row = out + i * F;
        *row++ = (rewards[i] - (joint ? 0 : mr)) * reward_scale * mask[i];
        if (f->time) *row++ = (REAL)(i % f->T) / (f->T > 1 ? f->T - 1 : 1);
        if (f->next) {
            if (f->scheme == 2) *row++ = work[i] * next_scale;
            else *row++ = (work[i] - mean) * scale * mask[i] * (joint ? 1 : 1 - terminated[i]);
        }
        if (f->value) *row++ = (v[i] - mean) * scale * mask[i];
        if (f->advantage) *row = mask[i] * (q[i] - v[i]) * advantage_scale;
    }
}

#undef CHUNK
