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
    double rates[5];                                                  /* of `adam` */
} NAME(learner);

/* What is the same for all of them. */
typedef struct {
    double inner_rate, mean;           /* lambda_3; whether the inner loss is a mean, not a sum */
    double alpha_bound, normalize;     /* norm of alpha's gradient; whether it is scaled to that */
    double policy_bound, polyak;
    double penalty, free, unit_bound;  /* see `through_tanh` */
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
    REAL *s, *z, *stats, *pi, *v, *v_next, *features, *loss, *dpi, *dy, *phi, *direction, *u, *tape, *rest;
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

/* The summed objective's derivative by the actions, and what leads to it, to `w`. */
static void NAME(evaluate_objective)(const NAME(agent) *g, const NAME(objective) *o, const NAME(features) *f,
                                     const NAME(learner) *c, const REAL *alpha, const REAL *sign,
                                     const NAME(between) *w)
{
    NAME(evaluate)(g, c->phi, c->theta, c->observations, w->s, w->z, w->stats, w->pi, w->v, w->v_next, w->rest);
    NAME(objective_features)(f, c->rewards, w->v, w->v_next, c->terminated, c->mask, w->features, w->rest);
    NAME(objective_forward)(o, alpha, c->actions, w->pi, NULL, sign, w->features, c->mask, w->tape, w->loss, w->rest);
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
    NAME(shape) p = NAME(policy)(g, n);
    long P = NAME(policy_size)(&p);
    double none[3] = {0, 0, 0};
    for (long k = 0; k < K; k++, c++, seen += 4) {
        NAME(evaluate_objective)(g, o, f, c, alpha, sign, &w);
        double valid = NAME(count)(n, c->mask), loss = 0;
        for (long i = 0; i < n; i++) loss += w.loss[i];
        seen[0] = seen[3] = 0;
        seen[1] = loss / valid;
        if (found) {
            REAL *own = found + k * size;
            NAME(policy_gradient)(g, c, none, &w);
            seen[3] = NAME(alpha_step)(g, o, c, h->inner_rate / (h->mean ? valid : 1), alpha, sign, own, &w);
            double norm = seen[0] = NAME(length)(size, own);
            if (h->normalize ? isfinite(norm) && norm > 0 : norm > h->alpha_bound)
                NAME(scale)(size, h->alpha_bound / norm, own);
        }
        if (!found || h->penalty) NAME(policy_gradient)(g, c, &h->penalty, &w);
        NAME(scale)(P, 1 / valid, c->gradient);
        double norm = seen[2] = NAME(policy_step)(P, h->policy_bound, c);
        if (!isfinite(norm)) continue;
        NAME(follow)(P, h->polyak, c->phi, c->phi_target);
        NAME(follow)(g->E * g->stride, h->polyak, c->theta, c->theta_target);
    }
}
