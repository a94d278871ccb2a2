/* What an agent's updates compute around its networks, one call each: critic.py,
 * policy_value.py, meta_gradient.py and objective/inputs.py for networks that run fused.
 *
 * Included by layers.h after mlp.h. n = B T rows; observations are [B, T + 1, O].
 */

#define FEW 32   /* rows at a time where nothing is kept for derivatives */
#define VALUES 128 /* where values are derived by actions: each time, weights are transposed */

typedef struct {
    long B, T, O, A, H, L, E; /* E critics */
    long stride;              /* from one critic's parameters to the next one's */
} NAME(agent);

static NAME(shape) NAME(policy)(const NAME(agent) *g, long N)
{
    return (NAME(shape)){1, N, g->O, g->H, g->L, g->A, g->H, 0, 0};
}

static NAME(shape) NAME(critic)(const NAME(agent) *g, long E, long N)
{
    return (NAME(shape)){E, N, g->O + g->A, g->H, g->L, 1, g->H, 0, g->stride};
}

/* What the calls of mlp.h need. */
static long NAME(calls_room)(const NAME(shape) *s)
{
    return NAME(offset)(s, s->L) + (2 * s->H + 1) * s->O + (4 * 32 + 4) * s->H;
}

/* Scratch of `rows` rows of `E` networks: tape, output and what the calls of mlp.h need. */
static long NAME(network_room)(const NAME(shape) *s, long E, long rows)
{
    return s->L * E * rows * (s->H + 2) + E * rows * s->O + NAME(calls_room)(s) + 16 * 4;
}

/* Elements of scratch that any of the calls needs. */
void NAME(agent_room)(const NAME(agent) *g, long *room)
{
    long n = g->B * g->T;
    NAME(shape) p = NAME(policy)(g, n), q = NAME(critic)(g, 1, n);
    room[0] = NAME(network_room)(&p, 1, 2 * n + VALUES) + NAME(network_room)(&q, g->E, n > VALUES ? n : VALUES)
              + 4 * (n + VALUES) * (g->O + 2 * g->A + g->E) + n + 16 * 16;
}

typedef struct {
    REAL *z, *stats, *y, *rest;
} NAME(network);

/* Room for a network's tape on `rows` rows, from `at` on. */
static NAME(network) NAME(carve)(REAL *work, long *at, const NAME(shape) *s, long E, long rows)
{
    NAME(network) w;
    w.z = work + NAME(take)(at, s->L * E * rows * s->H);
    w.stats = work + NAME(take)(at, s->L * E * rows * 2);
    w.y = work + NAME(take)(at, E * rows * s->O);
    w.rest = work + NAME(take)(at, NAME(calls_room)(s));
    return w;
}

/* Observation of row `row` in [0, n), `ahead` steps later. */
static const REAL *NAME(seen)(const NAME(agent) *g, const REAL *observations, long row, long ahead)
{
    return observations + (row / g->T * (g->T + 1) + row % g->T + ahead) * g->O;
}

/* x[r, :] = (s[r, :], a[r, :]) */
static void NAME(beside)(long R, long O, long A, const REAL *restrict s, const REAL *restrict a,
                         REAL *restrict x)
{
    for (long r = 0; r < R; r++) {
        memcpy(x + r * (O + A), s + r * O, O * sizeof(REAL));
        memcpy(x + r * (O + A) + O, a + r * A, A * sizeof(REAL));
    }
}

static void NAME(squash)(long n, REAL *restrict x)
{
    for (long i = 0; i < n; i++) x[i] = NAME(tanh)(x[i]);
}

static double NAME(count)(long n, const REAL *restrict mask)
{
    double sum = 0;
    for (long i = 0; i < n; i++) sum += mask[i];
    return sum < 1 ? 1 : sum;
}

/* y [n] of Eq. 5. noise [n, A] is added to the target policy's actions. */
static void NAME(td_target)(const NAME(agent) *g, const REAL *restrict phi, const REAL *restrict theta,
                     const REAL *restrict observations, const REAL *restrict rewards,
                     const REAL *restrict terminated, const REAL *restrict noise, double gamma,
                     REAL *restrict y, REAL *restrict work)
{
    long n = g->B * g->T, O = g->O, A = g->A, at = 0;
    NAME(shape) p = NAME(policy)(g, FEW), q = NAME(critic)(g, g->E, FEW);
    NAME(network) pw = NAME(carve)(work, &at, &p, 1, FEW), qw = NAME(carve)(work, &at, &q, g->E, FEW);
    REAL *s = work + NAME(take)(&at, FEW * O), *x = work + NAME(take)(&at, FEW * (O + A));
    REAL discount = gamma;
    for (long i = 0; i < n; i += FEW) {
        long R = n - i < FEW ? n - i : FEW;
        p.N = q.N = R;
        for (long r = 0; r < R; r++)
            memcpy(s + r * O, NAME(seen)(g, observations, i + r, 1), O * sizeof(REAL));
        NAME(mlp_forward)(&p, s, phi, pw.z, pw.stats, pw.y, pw.rest);
        NAME(squash)(R * A, pw.y);
        for (long k = 0; k < R * A; k++) {
            REAL a = pw.y[k] + noise[i * A + k];
            pw.y[k] = a < -1 ? -1 : a > 1 ? 1 : a;
        }
        NAME(beside)(R, O, A, s, pw.y, x);
        NAME(mlp_forward)(&q, x, theta, qw.z, qw.stats, qw.y, qw.rest);
        for (long r = 0; r < R; r++) {
            REAL least = qw.y[r];
            for (long e = 1; e < g->E; e++) {
                REAL other = qw.y[e * R + r];
                least = other < least || other != other ? other : least; /* NaN stays */
            }
            y[i + r] = rewards[i + r] + discount * (1 - terminated[i + r]) * least;
        }
    }
}

/* The gradient of Eq. 5 to `grads`, one critic's `stride` from the next one's; loss and mean Q of
 * the first critic to `seen`. */
static void NAME(td_gradient)(const NAME(agent) *g, const REAL *restrict theta,
                       const REAL *restrict observations, const REAL *restrict actions,
                       const REAL *restrict mask, const REAL *restrict y, REAL *restrict grads,
                       REAL *restrict seen, REAL *restrict work)
{
    long n = g->B * g->T, O = g->O, A = g->A, at = 0;
    NAME(shape) q = NAME(critic)(g, g->E, n);
    NAME(network) w = NAME(carve)(work, &at, &q, g->E, n);
    REAL *x = work + NAME(take)(&at, n * (O + A)), valid = NAME(count)(n, mask);
    for (long i = 0; i < n; i++)
        NAME(beside)(1, O, A, NAME(seen)(g, observations, i, 0), actions + i * A, x + i * (O + A));
    NAME(mlp_forward)(&q, x, theta, w.z, w.stats, w.y, w.rest);
    double loss = 0, mean = 0;
    for (long i = 0; i < n; i++) mean += w.y[i] * mask[i];
    for (long e = 0; e < g->E; e++)
        for (long i = 0; i < n; i++) {
            REAL d = (w.y[e * n + i] - y[i]) * mask[i];
            loss += (double)d * d;
            w.y[e * n + i] = d * (2 / valid);
        }
    NAME(mlp_backward)(&q, x, theta, w.z, w.stats, w.y, grads, g->stride, NULL, w.rest);
    seen[0] = loss / valid;
    seen[1] = mean / valid;
}

/* Q [n] by one critic of actions [n, A] at states s [n, O]. */
static void NAME(action_values)(const NAME(agent) *g, const REAL *restrict theta, const REAL *restrict s,
                                const REAL *restrict actions, REAL *restrict value, REAL *restrict work)
{
    long n = g->B * g->T, O = g->O, A = g->A, at = 0;
    NAME(shape) q = NAME(critic)(g, 1, FEW);
    NAME(network) w = NAME(carve)(work, &at, &q, 1, FEW);
    REAL *x = work + NAME(take)(&at, FEW * (O + A));
    for (long i = 0; i < n; i += FEW) {
        q.N = n - i < FEW ? n - i : FEW;
        NAME(beside)(q.N, O, A, s + i * O, actions + i * A, x);
        NAME(mlp_forward)(&q, x, theta, w.z, w.stats, value + i, w.rest);
    }
}

/* pi [n, A] with the policy's tape (s [n, O], z, stats), and V_t, V_{t+1} [n] by one critic. */
void NAME(evaluate)(const NAME(agent) *g, const REAL *restrict phi, const REAL *restrict theta,
                    const REAL *restrict observations, REAL *restrict s, REAL *restrict z,
                    REAL *restrict stats, REAL *restrict pi, REAL *restrict v,
                    REAL *restrict v_next, REAL *restrict work)
{
    long n = g->B * g->T, O = g->O, A = g->A, T = g->T, at = 0;
    NAME(shape) p = NAME(policy)(g, n), q = NAME(critic)(g, 1, FEW);
    NAME(network) pw = NAME(carve)(work, &at, &p, 1, FEW), qw = NAME(carve)(work, &at, &q, 1, FEW);
    REAL *x = work + NAME(take)(&at, FEW * (O + A)), *last = work + NAME(take)(&at, FEW * O);
    for (long i = 0; i < n; i++) memcpy(s + i * O, NAME(seen)(g, observations, i, 0), O * sizeof(REAL));
    NAME(mlp_forward)(&p, s, phi, z, stats, pi, pw.rest);
    NAME(squash)(n * A, pi);
    NAME(action_values)(g, theta, s, pi, v, work + at);
    for (long b = 0; b < g->B; b++) memcpy(v_next + b * T, v + b * T + 1, (T - 1) * sizeof(REAL));
    for (long b = 0; b < g->B; b += FEW) { /* the states after the segments */
        long R = g->B - b < FEW ? g->B - b : FEW;
        p.N = q.N = R;
        for (long r = 0; r < R; r++)
            memcpy(last + r * O, NAME(seen)(g, observations, (b + r) * T + T - 1, 1), O * sizeof(REAL));
        NAME(mlp_forward)(&p, last, phi, pw.z, pw.stats, pw.y, pw.rest);
        NAME(squash)(R * A, pw.y);
        NAME(beside)(R, O, A, last, pw.y, x);
        NAME(mlp_forward)(&q, x, theta, qw.z, qw.stats, qw.y, qw.rest);
        for (long r = 0; r < R; r++) v_next[(b + r) * T + T - 1] = qw.y[r];
    }
}

/* Values w.y [R] and derivatives by the inputs, dx [R, O + A], each weighted with dq [R], of at most
 * `VALUES` rows (s, a). `x` [R, O + A]. */
static void NAME(critic_slope)(const NAME(agent) *g, long R, const REAL *restrict theta, const REAL *restrict s,
                               const REAL *restrict a, const REAL *restrict dq, const NAME(network) *w,
                               REAL *restrict x, REAL *restrict dx)
{
    NAME(shape) q = NAME(critic)(g, 1, R);
    NAME(beside)(R, g->O, g->A, s, a, x);
    NAME(mlp_forward)(&q, x, theta, w->z, w->stats, w->y, w->rest);
    NAME(mlp_backward)(&q, x, theta, w->z, w->stats, dq, NULL, 0, dx, w->rest);
}

/* dQ/da at pi [n, A], 0 on padding, to `slope`; that over its root mean square on valid steps to
 * `direction`, both [n, A]: features.py. */
static void NAME(action_value_gradient)(const NAME(agent) *g, const REAL *restrict theta, const REAL *restrict s,
                                        const REAL *restrict pi, const REAL *restrict mask, REAL *restrict slope,
                                        REAL *restrict direction, REAL *restrict work)
{
    long n = g->B * g->T, O = g->O, A = g->A, I = O + A, at = 0;
    NAME(shape) q = NAME(critic)(g, 1, VALUES);
    NAME(network) w = NAME(carve)(work, &at, &q, 1, VALUES);
    REAL *x = work + NAME(take)(&at, VALUES * I), *dx = work + NAME(take)(&at, VALUES * I);
    double square = 0;
    for (long i = 0; i < n; i += VALUES) {
        long R = n - i < VALUES ? n - i : VALUES;
        NAME(critic_slope)(g, R, theta, s + i * O, pi + i * A, mask + i, &w, x, dx);
        for (long r = 0; r < R; r++)
            for (long k = 0; k < A; k++) {
                REAL d = slope[(i + r) * A + k] = dx[r * I + O + k];
                square += (double)d * d;
            }
    }
    square /= NAME(count)(n, mask) * A;
    REAL factor = square > 1e-16 ? 1 / sqrt(square) : 0;
    for (long k = 0; k < n * A; k++) direction[k] = slope[k] * factor;
}

/* J to `value` and d(-J)/d phi to `grads`: the mean of Q(s, pi(s)) over two minibatches. */
void NAME(value_gradient)(const NAME(agent) *g, const REAL *restrict phi, const REAL *restrict theta,
                          const REAL *restrict observations, const REAL *restrict mask,
                          const REAL *restrict others, const REAL *restrict others_mask,
                          REAL *restrict value, REAL *restrict grads, REAL *restrict work)
{
    long n = g->B * g->T, O = g->O, A = g->A, I = O + A, at = 0;
    NAME(shape) p = NAME(policy)(g, 2 * n), q = NAME(critic)(g, 1, VALUES);
    NAME(network) pw = NAME(carve)(work, &at, &p, 1, 2 * n), qw = NAME(carve)(work, &at, &q, 1, VALUES);
    REAL *s = work + NAME(take)(&at, 2 * n * O), *x = work + NAME(take)(&at, VALUES * I);
    REAL *dx = work + NAME(take)(&at, VALUES * I), *dq = work + NAME(take)(&at, VALUES);
    double both = 0, j = 0;
    for (long i = 0; i < n; i++) both += (double)mask[i] + others_mask[i];
    REAL share = 1 / (both < 1 ? 1 : both);
    for (long i = 0; i < n; i++) {
        memcpy(s + i * O, NAME(seen)(g, observations, i, 0), O * sizeof(REAL));
        memcpy(s + (n + i) * O, NAME(seen)(g, others, i, 0), O * sizeof(REAL));
    }
    NAME(mlp_forward)(&p, s, phi, pw.z, pw.stats, pw.y, pw.rest);
    NAME(squash)(2 * n * A, pw.y);
    for (long i = 0; i < 2 * n; i += VALUES) {
        long R = 2 * n - i < VALUES ? 2 * n - i : VALUES;
        REAL *pi = pw.y + i * A;
        for (long r = 0; r < R; r++) dq[r] = -share * (i + r < n ? mask[i + r] : others_mask[i + r - n]);
        NAME(critic_slope)(g, R, theta, s + i * O, pi, dq, &qw, x, dx);
        for (long r = 0; r < R; r++) j -= (double)dq[r] * qw.y[r];
        for (long r = 0; r < R; r++)
            for (long k = 0; k < A; k++) {
                REAL a = pi[r * A + k];
                pi[r * A + k] = dx[r * I + O + k] * (1 - a * a); /* from here on d(-J) / d x */
            }
    }
    NAME(mlp_backward)(&p, s, phi, pw.z, pw.stats, pw.y, grads, 0, NULL, pw.rest);
    *value = j;
}

/* The adjoint of the policy's output [n, A] for an objective whose derivative by its actions is
 * `gradient`: evaluation.py, with its action penalty, whose free range of pre-activations is `free`. */
void NAME(through_tanh)(const NAME(agent) *g, const REAL *restrict gradient, const REAL *restrict pi,
                        const REAL *restrict mask, const double *restrict penalty_free_bound,
                        REAL *restrict dy)
{
    long n = g->B * g->T, A = g->A;
    double penalty = penalty_free_bound[0], square = 0, range = penalty_free_bound[1];
    REAL bound = penalty_free_bound[2], free = tanh(range);
    for (long i = 0; i < n; i++)
        for (long k = i * A; k < (i + 1) * A; k++) dy[k] = gradient[k] * (1 - pi[k] * pi[k]) * mask[i];
    if (!penalty) return;
    for (long i = 0; i < n; i++)
        for (long k = i * A; k < (i + 1) * A; k++) {
            double x = gradient[k] * mask[i];
            square += x * x;
        }
    double weight = sqrt(square / (NAME(count)(n, mask) * A)) * 2 * penalty / A;
    for (long k = 0; k < n * A; k++) {
        REAL a = pi[k] < -bound ? -bound : pi[k] > bound ? bound : pi[k];
        if (a > free || a < -free) dy[k] += (atanh(a) - (a > 0 ? range : -range)) * weight * mask[k / A];
    }
}

/* The action's tangent from that of the network's output, in place. */
void NAME(tanh_tangent)(const NAME(agent) *g, const REAL *restrict pi, const REAL *restrict mask,
                        REAL *restrict tangent)
{
    long n = g->B * g->T, A = g->A;
    for (long i = 0; i < n; i++)
        for (long k = i * A; k < (i + 1) * A; k++) tangent[k] *= (1 - pi[k] * pi[k]) * mask[i];
}

/* Adam on one vector of parameters: `rates` holds beta1, beta2, epsilon, the step size and the
 * second moment's bias correction (adam.py). */
void NAME(adam)(long n, const REAL *restrict gradient, REAL *restrict m, REAL *restrict v,
                REAL *restrict parameters, const double *restrict rates)
{
    REAL first = 1 - rates[0], second = rates[1], rest = 1 - rates[1], epsilon = rates[2];
    REAL rate = rates[3], scale = 1 / rates[4];
    for (long i = 0; i < n; i++) {
        m[i] += first * (gradient[i] - m[i]);
        v[i] = second * v[i] + rest * gradient[i] * gradient[i];
        parameters[i] -= rate * m[i] / (SQRT(v[i]) * scale + epsilon);
    }
}

/* What an update of one agent's critics reads and writes, with the numbers for `adam`. */
typedef struct {
    const REAL *phi_target, *theta_target;
    REAL *theta, *gradient, *m, *v;
    const REAL *observations, *actions, *rewards, *terminated, *mask, *noise;
    double gamma, rates[5];
} NAME(critics);

/* An update of the critics of each of K agents (Eq. 5); seen [K, 2] is what `td_gradient` saw. */
void NAME(update_critics)(const NAME(agent) *g, long K, const NAME(critics) *restrict c,
                          REAL *restrict seen, REAL *restrict work)
{
    long at = 0;
    REAL *y = work + NAME(take)(&at, g->B * g->T);
    for (long k = 0; k < K; k++, c++) {
        NAME(td_target)(g, c->phi_target, c->theta_target, c->observations, c->rewards,
                        c->terminated, c->noise, c->gamma, y, work + at);
        NAME(td_gradient)(g, c->theta, c->observations, c->actions, c->mask, y, c->gradient,
                          seen + 2 * k, work + at);
        NAME(adam)(g->E * g->stride, c->gradient, c->m, c->v, c->theta, c->rates);
    }
}

/* Actions [K, A] of K policies, for an observation each [K, O]. */
void NAME(act)(const NAME(agent) *g, long K, const REAL *const *restrict phi,
               const REAL *restrict observations, REAL *restrict actions, REAL *restrict work)
{
    long at = 0;
    NAME(shape) p = NAME(policy)(g, 1);
    NAME(network) w = NAME(carve)(work, &at, &p, 1, 1);
    for (long k = 0; k < K; k++) { /* the same for an agent, whoever is beside it */
        NAME(mlp_forward)(&p, observations + k * g->O, phi[k], w.z, w.stats, actions + k * g->A, w.rest);
        NAME(squash)(g->A, actions + k * g->A);
    }
}

#undef FEW
#undef VALUES
