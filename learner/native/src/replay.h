/* Segments of a replay buffer, put together from where they begin: agents/experience/replay.py, whose `draw` and
 * `gather` are the same in numpy. Included by native.c once: there is nothing but float32.
 */

/* A ring of steps, as ReplayBuffer holds it. */
typedef struct {
    long capacity, size, oldest, O, A; /* steps that fit, are there; the row of age 0; widths */
    const float *observations, *actions, *rewards, *next_observations;
    const unsigned char *terminated, *ends;
} ring;

/* The segment of up to T steps from age `start` on, zero after its last one. */
static void gather_segment(const ring *r, long T, long start, float *observations, float *actions,
                           float *rewards, float *terminated, float *mask)
{
    long O = r->O, A = r->A, row = (r->oldest + start) % r->capacity, t = 0;
    long most = r->size - start < T ? r->size - start : T;
    memcpy(observations, r->observations + row * O, O * sizeof(float));
    for (int over = 0; t < most && !over; t++, row = row + 1 < r->capacity ? row + 1 : 0) {
        memcpy(observations + (t + 1) * O, r->next_observations + row * O, O * sizeof(float));
        memcpy(actions + t * A, r->actions + row * A, A * sizeof(float));
        rewards[t] = r->rewards[row];
        terminated[t] = r->terminated[row];
        mask[t] = 1;
        over = r->ends[row];
    }
    memset(observations + (t + 1) * O, 0, (T - t) * O * sizeof(float));
    memset(actions + t * A, 0, (T - t) * A * sizeof(float));
    memset(rewards + t, 0, (T - t) * sizeof(float));
    memset(terminated + t, 0, (T - t) * sizeof(float));
    memset(mask + t, 0, (T - t) * sizeof(float));
}

/* B segments from the ages starts [B]: [B, T + 1, O], [B, T, A] and three times [B, T]. */
void metagenrl_gather(const ring *r, long B, long T, const long *starts, float *observations,
                      float *actions, float *rewards, float *terminated, float *mask)
{
    for (long b = 0; b < B; b++)
        gather_segment(r, T, starts[b], observations + b * (T + 1) * r->O, actions + b * T * r->A,
                       rewards + b * T, terminated + b * T, mask + b * T);
}
