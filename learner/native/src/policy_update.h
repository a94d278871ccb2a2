/* The alpha-bound half of a round, for each of K agents: policy update and meta-gradient on the same
 * minibatches, both starting from phi (Algorithm 1, Eq. 6), then the targets. In plain steps that is
 * `Member._update`.
 *
 * Included by layers.h after the parts it is made of.
 */

/* What belongs to one agent. */
typedef struct {
    REAL *phi, *gradient, *m, *v; /* the policy's, with the moments of `adam` */
    REAL *phi_target, *theta_target;
    const REAL *theta;
    const REAL *observations, *actions, *rewards, *terminated, *mask; /* tau_1 */
    const REAL *others, *others_mask;                                 /* tau_2 */
    const REAL *noise; /* of the actions shown in the place of the taken ones; NULL: these */
    double objective_weight; /* p, below 1 while the policy is annealed (B.2) */
    double rates[5];         /* of `adam` */
} NAME(learner);

/* What is the same for all of them. */
typedef struct {
    double inner_rate, mean;           /* lambda_3; whether the inner loss is a mean, not a sum */
    double alpha_bound, normalize;     /* norm of alpha's gradient; whether it is scaled to that */
    double policy_bound, polyak;
    double penalty, free, unit_bound;  /* see `through_tanh` */
    double regression;                 /* whether alpha regresses dQ/da, not Eq. 6 */
} NAME(method);

static double NAME(length)(long n, const REAL *restrict x)
{
    double square = 0;
    for (long i = 0; i < n; i++) square += (double)x[i] * x[i];
    return sqrt(square);
}

static void NAME(scale)(long n, double factor, REAL *restrict x)
{
    REAL f = factor;
    for (long i = 0; i < n; i++) x[i] *= f;
}

static void NAME(follow)(long n, double rate, const REAL *restrict x, REAL *restrict target)
{
    REAL r = rate;
    for (long i = 0; i < n; i++) target[i] += r * (x[i] - target[i]);
}

/* What the steps of one agent's update hand to each other. */
typedef struct {
    REAL *s, *z, *stats, *pi, *v, *v_next, *shown, *q, *slope, *unit, *features, *loss, *dpi, *dy, *phi, *direction, *u;
    REAL *tape, *rest;
} NAME(between);

static long NAME(policy_size)(const NAME(shape) *p)
{
    return NAME(offset)(p, p->L) + (p->H + 1) * p->O;
}

static NAME(between) NAME(carve_between)(REAL *work, long *at, const NAME(agent) *g, const NAME(objective) *o)
{
    long n = g->B * g->T, A = n * g->A, room[2];
    NAME(shape) p = NAME(policy)(g, n);
    NAME(objective_room)(o, room);
    NAME(between) w;
    w.s = work + NAME(take)(at, n * g->O);
    w.z = work + NAME(take)(at, p.L * n * p.H);
    w.stats = work + NAME(take)(at, p.L * n * 2);
    w.pi = work + NAME(take)(at, A);
    w.v = work + NAME(take)(at, n);
    w.v_next = work + NAME(take)(at, n);
    w.shown = work + NAME(take)(at, A);
    w.q = work + NAME(take)(at, n);
    w.slope = work + NAME(take)(at, A);
    w.unit = work + NAME(take)(at, A);
    w.features = work + NAME(take)(at, n * o->F);
    w.loss = work + NAME(take)(at, n);
    w.dpi = work + NAME(take)(at, A);
    w.dy = work + NAME(take)(at, A);
    w.phi = work + NAME(take)(at, NAME(policy_size)(&p));
    w.direction = work + NAME(take)(at, NAME(policy_size)(&p));
    w.u = work + NAME(take)(at, A);
    w.tape = work + NAME(take)(at, room[0]);
    w.rest = work + *at;
    return w;
}

/* Elements of scratch that `update_policies` needs. */
void NAME(update_room)(const NAME(agent) *g, const NAME(objective) *o, long *room)
{
    long agent, objective[2], at = 0;
    NAME(agent_room)(g, &agent);
    NAME(objective_room)(o, objective);
    NAME(carve_between)(NULL, &at, g, o);
    room[0] = at + (agent > objective[1] ? agent : objective[1]);
}

/* The actions that the objective is shown: the taken ones, or others around the policy to w->shown. */
static const REAL *NAME(shown)(long n, long A, const NAME(learner) *c, const NAME(between) *w)
{
    if (!c->noise) return c->actions;
    for (long k = 0; k < n * A; k++) {
        REAL a = w->pi[k] + c->noise[k];
        w->shown[k] = (a < -1 ? -1 : a > 1 ? 1 : a) * c->mask[k / A];
    }
    return w->shown;
}

/* The summed objective's derivative by the actions, and what leads to it, to `w`; dQ/da and its unit
 * form, too, where that is an input or `slope` asks for it. */
static void NAME(evaluate_objective)(const NAME(agent) *g, const NAME(objective) *o, const NAME(features) *f,
                                     const NAME(learner) *c, long slope, const REAL *alpha, const REAL *sign,
                                     const NAME(between) *w)
{
    NAME(evaluate)(g, c->phi, c->theta, c->observations, w->s, w->z, w->stats, w->pi, w->v, w->v_next, w->rest);
    const REAL *actions = NAME(shown)(g->B * g->T, g->A, c, w);
    if (f->advantage) NAME(action_values)(g, c->theta, w->s, actions, w->q, w->rest);
    if (slope || o->I > 2)
        NAME(action_value_gradient)(g, c->theta, w->s, w->pi, c->mask, w->slope, w->unit, w->rest);
    NAME(objective_features)(f, c->rewards, w->v, w->v_next, w->q, c->terminated, c->mask, w->features, w->rest);
    NAME(objective_forward)(o, alpha, actions, w->pi, w->unit, sign, w->features, c->mask, w->tape, w->loss, w->rest);
    NAME(objective_action_gradient)(o, alpha, sign, c->mask, w->tape, w->dpi, w->rest);
}

/* Its gradient by phi to c->gradient, with the penalty of `through_tanh`. */
static void NAME(policy_gradient)(const NAME(agent) *g, const NAME(learner) *c, const double *penalty,
                                  const NAME(between) *w)
{
    NAME(shape) p = NAME(policy)(g, g->B * g->T);
    NAME(through_tanh)(g, w->dpi, w->pi, c->mask, penalty, w->dy);
    NAME(mlp_backward)(&p, w->s, c->phi, w->z, w->stats, w->dy, c->gradient, 0, NULL, w->rest);
}

/* The derivative by the actions of p L - (1 - p) Q in the place of that of L. */
static void NAME(anneal)(long n, double p, const NAME(between) *w)
{
    REAL share = p, rest = 1 - p;
    for (long k = 0; k < n; k++) w->dpi[k] = share * w->dpi[k] - rest * w->slope[k];
}

/* d/d alpha of half the mean of |dL/d pi + dQ/da / rms|^2, to `found` [P_alpha]; the mean of V. */
static REAL NAME(alpha_regression)(const NAME(agent) *g, const NAME(objective) *o, const NAME(learner) *c,
                                   double valid, const REAL *alpha, const REAL *sign, REAL *found,
                                   const NAME(between) *w)
{
    long n = g->B * g->T, A = g->A;
    double value = 0;
    for (long k = 0; k < n * A; k++) w->u[k] = (w->dpi[k] * c->mask[k / A] + w->unit[k]) / valid;
    NAME(objective_alpha_gradient)(o, alpha, sign, w->features, c->mask, w->tape, w->u, found, NULL, w->rest);
    for (long i = 0; i < n; i++) value += (double)w->v[i] * c->mask[i];
    return value / valid;
}

/* d/d alpha of -J after one inner step of `rate` along c->gradient, to `found` [P_alpha]; J. */
static REAL NAME(alpha_step)(const NAME(agent) *g, const NAME(objective) *o, const NAME(learner) *c, double rate,
                             const REAL *alpha, const REAL *sign, REAL *found, const NAME(between) *w)
{
    NAME(shape) p = NAME(policy)(g, g->B * g->T);
    REAL value, step = rate;
    for (long i = 0; i < NAME(policy_size)(&p); i++) w->phi[i] = c->phi[i] - step * c->gradient[i];
    NAME(value_gradient)(g, w->phi, c->theta, c->observations, c->mask, c->others, c->others_mask,
                         &value, w->direction, w->rest);
    NAME(mlp_parameter_tangent)(&p, w->s, c->phi, w->direction, 0, w->z, w->stats, w->u, w->rest);
    NAME(tanh_tangent)(g, w->pi, c->mask, w->u);
    NAME(scale)(p.N * p.O, -rate, w->u);
    NAME(objective_alpha_gradient)(o, alpha, sign, w->features, c->mask, w->tape, w->u, found, NULL,
                                   w->rest);
    return value;
}

/* Adam's step along c->gradient, clipped to `bound`, unless that is not finite; its norm before. */
static double NAME(policy_step)(long P, double bound, const NAME(learner) *c)
{
    double norm = NAME(length)(P, c->gradient);
    if (norm > bound) NAME(scale)(P, bound / norm, c->gradient);
    if (isfinite(norm)) NAME(adam)(P, c->gradient, c->m, c->v, c->phi, c->rates);
    return norm;
}

/* Gradients of alpha to found [K, P_alpha], clipped or scaled (NULL: only the policies learn); to
 * seen [K, 4] their norms before that, the mean loss, the policy's gradient's norm and J. An agent
 * whose policy's gradient is not finite keeps policy and targets. */
void NAME(update_policies)(const NAME(agent) *g, const NAME(objective) *o, const NAME(features) *f,
                           const NAME(method) *h, long K, const NAME(learner) *restrict c,
                           const REAL *restrict alpha, const REAL *restrict sign,
                           REAL *restrict found, REAL *restrict seen, REAL *restrict work)
{
    long n = g->B * g->T, at = 0, size = NAME(alpha_places)(o).size;
    NAME(between) w = NAME(carve_between)(work, &at, g, o);
    NAME(shape) net = NAME(policy)(g, n);
    long P = NAME(policy_size)(&net);
    double none[3] = {0, 0, 0};
    for (long k = 0; k < K; k++, c++, seen += 4) {
        double p = c->objective_weight;
        NAME(evaluate_objective)(g, o, f, c, p < 1 || (found && h->regression), alpha, sign, &w);
        double valid = NAME(count)(n, c->mask), loss = 0;
        for (long i = 0; i < n; i++) loss += w.loss[i];
        seen[0] = seen[3] = 0;
        seen[1] = loss / valid;
        if (found) {
            REAL *own = found + k * size;
            NAME(policy_gradient)(g, c, none, &w);
            if (h->regression) seen[3] = NAME(alpha_regression)(g, o, c, valid, alpha, sign, own, &w);
            else seen[3] = NAME(alpha_step)(g, o, c, h->inner_rate / (h->mean ? valid : 1), alpha, sign, own, &w);
            double norm = seen[0] = NAME(length)(size, own);
            if (h->normalize ? isfinite(norm) && norm > 0 : norm > h->alpha_bound)
                NAME(scale)(size, h->alpha_bound / norm, own);
        }
        if (p < 1) NAME(anneal)(n * g->A, p, &w);
        if (!found || h->penalty || p < 1) NAME(policy_gradient)(g, c, &h->penalty, &w);
        NAME(scale)(P, 1 / valid, c->gradient);
        double norm = seen[2] = NAME(policy_step)(P, h->policy_bound, c);
        if (!isfinite(norm)) continue;
        NAME(follow)(P, h->polyak, c->phi, c->phi_target);
        NAME(follow)(g->E * g->stride, h->polyak, c->theta, c->theta_target);
    }
}
