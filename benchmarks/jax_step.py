"""The agent-step in JAX, `jit` of each update; needs jax and numpy, and nothing of this project.

    python jax_step.py '{"observations": 17, "actions": 6, "units": 350, "batch": 100,
                         "length": 20, "repetitions": 10}' [SAME.npz]

prints milliseconds of one agent-step (half of a round: two critic updates, then policy and
objective) as JSON. Written the obvious way: `jax.grad` of a loss that holds the inner `jax.grad`.
SAME.npz holds parameters, minibatches and the gradients that another program found there, by names
such as `alpha/action/0/w`; how far JAX's are from them, in float64, is printed as well.
"""

import itertools
import json
import os
import statistics
import sys
import time

os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})  # before XLA counts the cores
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

GAMMA, RATE, POLYAK, INNER, ETA, CLIP = 0.99, 1e-3, 0.005, 1e-3, 1000.0, 1.0
HIDDEN, FEATURES = 32, 8


def dense(key, sizes):
    """Glorot-uniform weights and zero biases between `sizes`."""
    keys = jax.random.split(key, len(sizes) - 1)
    pairs = list(itertools.pairwise(sizes))
    glorot = jax.nn.initializers.glorot_uniform()
    return [
        {"w": glorot(k, pair), "b": jnp.zeros(pair[1])} for k, pair in zip(keys, pairs, strict=True)
    ]


def with_norm(key, sizes, normalized):
    """`dense` with gamma and beta for the first `normalized` layers."""
    layers = dense(key, sizes)
    for layer in layers[:normalized]:
        layer["gamma"], layer["beta"] = jnp.ones(layer["b"].shape), jnp.zeros(layer["b"].shape)
    return layers


def layer_norm(layer, x):
    """Over the last axis; a layer without gamma has none."""
    if "gamma" not in layer:
        return x
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * layer["gamma"] + layer["beta"]


def halves(x):
    """ReLU on half of the units, the square on the other half (B.1)."""
    first, second = jnp.split(x, 2, -1)
    return jnp.concatenate([jax.nn.relu(first), second**2], -1)


def run_mlp(layers, x, activation, activated):
    """Linear layers, the first `activated` of them followed by activation and layer norm."""
    for i, layer in enumerate(layers):
        x = x @ layer["w"] + layer["b"]
        if i < activated:
            x = layer_norm(layer, activation(x))
    return x


def policy(phi, s):
    return jnp.tanh(run_mlp(phi, s, jax.nn.relu, len(phi) - 1))


def critic(theta, s, a):
    return run_mlp(theta, jnp.concatenate([s, a], -1), jax.nn.relu, len(theta) - 1)[..., 0]


def zscore(parts):
    values = jnp.stack(parts)
    return [(part - values.mean()) * jax.lax.rsqrt(values.var() + 1e-8) for part in parts]


def objective(alpha, pi, v, v_next, batch):
    """L_alpha `[B, T]` (Figure 2, Eq. 7) on full segments."""
    (rewards,), (v, v_next) = zscore([batch["r"]]), zscore([v, v_next])
    steps = jnp.broadcast_to(jnp.linspace(0, 1, pi.shape[1]), rewards.shape)
    inputs = jnp.stack([rewards, steps, v_next * (1 - batch["d"]), v], -1)
    pairs = jnp.stack([batch["a"], pi], -1)
    action = run_mlp(alpha["action"], pairs, halves, 3).mean(2)
    x = jnp.concatenate([action, run_mlp(alpha["features"], inputs, halves, 2)], -1)

    def cell(carry, x_t):
        h, c = carry
        gates = jnp.concatenate([x_t, h], -1) @ alpha["lstm"]["w"] + alpha["lstm"]["b"]
        i, f, g, o = jnp.split(gates, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros((pi.shape[0], HIDDEN))
    _, states = jax.lax.scan(cell, (zero, zero), x.swapaxes(0, 1), reverse=True)
    out = run_mlp(alpha["head"], states.swapaxes(0, 1), halves, 2)[..., 0]
    return ETA * jnp.tanh(out / ETA)


def summed_objective(phi, alpha, theta, batch):
    s, s_next = batch["s"][:, :-1], batch["s"][:, 1:]
    pi = policy(phi, s)
    fixed = jax.lax.stop_gradient((pi, policy(phi, s_next)))
    v, v_next = (critic(theta[0], x, a) for x, a in zip((s, s_next), fixed, strict=True))
    return objective(alpha, pi, *jax.lax.stop_gradient((v, v_next)), batch).sum()


def meta_loss(alpha, phi, theta, inner, held_out):
    """-J of Eq. 6."""
    gradient = jax.grad(summed_objective)(phi, alpha, theta, inner)
    updated = jax.tree.map(lambda p, g: p - INNER * g, phi, gradient)
    s = jnp.concatenate([inner["s"][:, :-1], held_out["s"][:, :-1]])
    return -critic(theta[0], s, policy(updated, s)).mean()


def critic_loss(theta, targets, batch, noise):
    s, s_next = batch["s"][:, :-1], batch["s"][:, 1:]
    a_next = jnp.clip(policy(targets["phi"], s_next) + noise, -1, 1)
    q_next = jnp.minimum(*(critic(t, s_next, a_next) for t in targets["theta"]))
    y = jax.lax.stop_gradient(batch["r"] + GAMMA * (1 - batch["d"]) * q_next)
    return sum(((critic(t, s, batch["a"]) - y) ** 2).mean() for t in theta)


def adam(parameters, gradient, moments):
    m, v, t = moments
    t = t + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, gradient)
    a, b = 1 - 0.9**t, 1 - 0.999**t
    new = jax.tree.map(
        lambda p, m, v: p - RATE * (m / a) / (jnp.sqrt(v / b) + 1e-8), parameters, m, v
    )
    return new, (m, v, t)


def clipped(tree):
    norm = jnp.sqrt(sum((x**2).sum() for x in jax.tree.leaves(tree)))
    return jax.tree.map(lambda x: x * jnp.minimum(1.0, CLIP / norm), tree)


@jax.jit
def update_critic(state, batch, noise):
    gradient = jax.grad(critic_loss)(state["theta"], state["targets"], batch, noise)
    theta, moments = adam(state["theta"], gradient, state["theta_adam"])
    return {**state, "theta": theta, "theta_adam": moments}


@jax.jit
def update_policy_and_objective(state, alpha, own, inner, held_out):
    meta = clipped(jax.grad(meta_loss)(alpha, state["phi"], state["theta"], inner, held_out))
    gradient = jax.grad(summed_objective)(state["phi"], alpha, state["theta"], own)
    count = own["r"].size
    gradient = clipped(jax.tree.map(lambda g: g / count, gradient))
    phi, moments = adam(state["phi"], gradient, state["phi_adam"])
    new = {"phi": phi, "theta": state["theta"]}
    targets = jax.tree.map(lambda t, p: t + POLYAK * (p - t), state["targets"], new)
    return {**state, **new, "phi_adam": moments, "targets": targets}, meta


def start(o, a, units):
    """An agent's state and an objective of 15 497 parameters."""
    keys = jax.random.split(jax.random.key(0), 8)
    phi = with_norm(keys[0], [o, units, units, a], 2)
    theta = [with_norm(k, [o + a, units, units, 1], 2) for k in keys[1:3]]
    alpha = {
        "action": with_norm(keys[3], [2] + [HIDDEN] * 3, 3),
        "features": dense(keys[4], [4, HIDDEN, HIDDEN, FEATURES]),
        "lstm": dense(keys[5], [2 * HIDDEN + FEATURES, 4 * HIDDEN])[0],
        "head": with_norm(keys[6], [HIDDEN, HIDDEN, HIDDEN, 1], 2),
    }
    zeros = [jax.tree.map(jnp.zeros_like, tree) for tree in (phi, theta)]
    state = {"phi": phi, "theta": theta, "targets": {"phi": phi, "theta": theta}}
    state |= {"phi_adam": (zeros[0], zeros[0], 0.0), "theta_adam": (zeros[1], zeros[1], 0.0)}
    return state, alpha


def minibatch(key, sizes):
    k = jax.random.split(key, 3)
    b, t = sizes["batch"], sizes["length"]
    return {
        "s": jax.random.normal(k[0], (b, t + 1, sizes["observations"])),
        "a": jax.random.uniform(k[1], (b, t, sizes["actions"]), minval=-1, maxval=1),
        "r": jax.random.normal(k[2], (b, t)),
        "d": jnp.zeros((b, t)),
    }


def tree_of(arrays):
    """Nested dicts, and lists where the keys are numbers, of arrays named by their paths."""
    parts = {}
    for path, value in arrays.items():
        name, _, rest = path.partition("/")
        parts.setdefault(name, {})[rest] = value
    tree = {name: part[""] if "" in part else tree_of(part) for name, part in parts.items()}
    return [tree[str(i)] for i in range(len(tree))] if "0" in tree else tree


def differences(path):
    """|JAX - given| / |given| of the critics' and the objective's gradient, in float64."""
    jax.config.update("jax_enable_x64", True)
    same = tree_of({name: jnp.asarray(value) for name, value in np.load(path).items()})
    state, batches, given = same["state"], same["batches"], same["gradients"]
    found = {
        "critic": jax.grad(critic_loss)(
            state["theta"], state["targets"], batches[0], jnp.zeros_like(batches[0]["a"])
        ),
        "objective": jax.grad(meta_loss)(same["alpha"], state["phi"], state["theta"], *batches),
    }
    jax.config.update("jax_enable_x64", False)

    def norm(tree):
        return float(np.sqrt(sum((np.asarray(x) ** 2).sum() for x in jax.tree.leaves(tree))))

    return {
        name: norm(jax.tree.map(lambda a, b: a - b, tree, given[name])) / norm(given[name])
        for name, tree in found.items()
    }


def main():
    sizes = json.loads(sys.argv[1])
    state, alpha = start(sizes["observations"], sizes["actions"], sizes["units"])
    batches = [minibatch(k, sizes) for k in jax.random.split(jax.random.key(1), 5)]
    noise = jnp.zeros((sizes["batch"], sizes["length"], sizes["actions"]))

    def play(state):
        for batch in batches[:2]:
            state = update_critic(state, batch, noise)
        state, meta = update_policy_and_objective(state, alpha, *batches[2:])
        jax.block_until_ready((state, meta))
        return state

    begin = time.perf_counter()
    state = play(state)
    compiling, samples = time.perf_counter() - begin, []
    for repetition in range(3 + sizes["repetitions"]):
        begin = time.perf_counter()
        state = play(state)
        if repetition >= 3:
            samples.append((time.perf_counter() - begin) * 500)
    found = {
        "version": jax.__version__,
        "parameters": sum(x.size for x in jax.tree.leaves(alpha)),
        "compile_s": compiling,
        "median_ms": statistics.median(samples),
        "minimum_ms": min(samples),
        "differences": differences(sys.argv[2]) if len(sys.argv) > 2 else {},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
