"""Arguments of another kind: one line that names the argument, from every public name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import metagenrl
from metagenrl.learner.hyperparams import ObjectiveConfig

GOLDEN = Path(__file__).parents[1] / "golden/v0.1/cohort"
LAYER = nn.Linear(3, 2)


def minibatch(**fields: Any) -> metagenrl.Batch:
    generator = torch.Generator().manual_seed(1)
    sound = {
        "observations": torch.randn(4, 6, 3, generator=generator),
        "actions": torch.rand(4, 5, 2, generator=generator) * 2 - 1,
        "rewards": torch.randn(4, 5, generator=generator).round(),
        "terminated": torch.zeros(4, 5),
        "mask": torch.ones(4, 5),
    }
    return metagenrl.Batch(**{**sound, **fields})


def policy(s: torch.Tensor) -> torch.Tensor:
    return torch.tanh(LAYER(s))


def critic(s: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    return s.sum(-1) - a.square().sum(-1)


def loss(batch: Any = None, policy: Any = policy, critic: Any = critic, **options: Any) -> Any:
    objective = metagenrl.load_objective("pretrained:critic")
    return objective.loss(minibatch() if batch is None else batch, policy, critic, **options)


def sample(**options: Any) -> Any:
    buffer = metagenrl.ReplayBuffer(4, 1, 1)
    for _ in range(4):
        buffer.add([0], [0], 0, [0], False, False)
    return buffer.sample(**{"rng": np.random.default_rng(0), "segments": 2, "length": 2} | options)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: metagenrl.load_objective(None), "objective"),
        (lambda: metagenrl.load_objective(b"runs/a"), "objective"),
        (lambda: metagenrl.load_objective("a" * 5000), "objective"),
        (lambda: metagenrl.load_objective("a\nb"), "objective"),
        (lambda: loss(action_penalty=True), "action_penalty"),
        (lambda: loss(action_penalty=np.array([0.1])), "action_penalty"),
        (lambda: metagenrl.load_objective(GOLDEN, version=None), "objective"),
        (lambda: metagenrl.load_objective(GOLDEN, version=76.0), "objective"),
        (lambda: metagenrl.load_objective(GOLDEN, version=True), "objective"),
        (lambda: metagenrl.random_objective("0"), "seed"),
        (lambda: metagenrl.random_objective(1.5), "seed"),
        (lambda: metagenrl.random_objective(10**30), "seed"),
        (lambda: metagenrl.random_objective(0, {}), "config"),
        (lambda: metagenrl.Objective(None, None), "config"),
        (lambda: metagenrl.Objective(ObjectiveConfig(), torch.zeros(3)), "alpha"),
        (lambda: metagenrl.read_run(None), "path"),
        (lambda: metagenrl.read_run(b"runs/a"), "path"),
        (lambda: metagenrl.read_run("a" * 5000), "path"),
        (lambda: metagenrl.Run(4), "path"),
        (lambda: metagenrl.Run(GOLDEN).frame("evaluations"), "kind"),
        (lambda: metagenrl.Run(GOLDEN).frame(["agent"]), "kind"),
        (lambda: metagenrl.ReplayBuffer("9", 1, 1), "capacity"),
        (lambda: metagenrl.ReplayBuffer(9, 1.5, 1), "observation_size"),
        (lambda: metagenrl.ReplayBuffer(9, 1, True), "action_size"),
        (lambda: sample(rng=0), "rng"),
        (lambda: sample(segments="2"), "segments"),
        (lambda: sample(segments=5), "segments"),
        (lambda: sample(length=2.5), "length"),
        (lambda: loss({}), "batch"),
        (lambda: loss(minibatch(mask=np.ones((4, 5)))), "mask"),
        (lambda: loss(minibatch(actions=torch.zeros(0, 5, 2))), "actions"),
        (lambda: loss(minibatch(rewards=[[0.0] * 5] * 4)), "rewards"),
        (lambda: loss(minibatch(actions=torch.zeros(4, 5, 2, dtype=torch.complex64))), "actions"),
        (lambda: loss(minibatch(mask=torch.ones(4, 5).to_sparse())), "mask"),
        (lambda: loss(minibatch(rewards=torch.ones(4, 5, device="meta"))), "rewards"),
        (lambda: loss(policy=None), "policy"),
        (lambda: loss(critic="q"), "critic"),
        (lambda: loss(policy=lambda s: (policy(s), None)), "policy's actions"),
        (lambda: loss(critic=lambda s, a: (critic(s, a),) * 2), "critic's values"),
        (lambda: loss(critic=lambda s, a: critic(s, a.detach())), "critic's values"),
        (lambda: loss(critic=lambda s, a: LAYER(s)[..., 0]), "critic's values"),
        (lambda: loss(action_penalty=None), "action_penalty"),
        (lambda: loss(action_penalty="0.1"), "action_penalty"),
        (lambda: loss(action_penalty=float("nan")), "action_penalty"),
        (lambda: loss(action_penalty=-1), "action_penalty"),
    ],
)
def test_an_argument_of_another_kind_is_named(call: Callable[[], Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: got .*allowed: ") as error:
        call()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("observations", float("inf"), "inf"),
        ("actions", 1.5, "1.5"),
        ("actions", float("nan"), "nan"),
        ("rewards", float("nan"), "nan"),
        ("terminated", 5.0, "5"),
        ("mask", -1.0, "-1"),
        ("mask", 0.5, "0.5"),
        ("mask", 0.0, "1"),  # the steps after it are valid
    ],
)
def test_a_value_that_a_field_excludes_is_named(field: str, value: float, shown: str) -> None:
    values = getattr(minibatch(), field).clone()
    values[2, 1] = value
    with pytest.raises(ValueError, match=f"^{field}: got {shown}, allowed: "):
        loss(minibatch(**{field: values}))


@pytest.mark.parametrize("scale", [5.0, float("nan")])
def test_a_policy_beyond_its_range_and_a_critic_of_nothing_are_named(scale: float) -> None:
    with pytest.raises(ValueError, match=r"^policy's actions: got \S+, allowed: "):
        loss(policy=lambda s: policy(s).sign() * scale)
    with pytest.raises(ValueError, match=r"^critic's values: got inf, allowed: "):
        loss(critic=lambda s, a: critic(s, a) + float("inf"))


def test_actions_may_be_rounded_and_rows_may_be_padding() -> None:
    given = minibatch(actions=torch.full((4, 5, 2), 1 + 1e-6), mask=torch.zeros(4, 5))
    assert loss(given).isfinite()


@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.float64, torch.float16])
@pytest.mark.parametrize("field", ["rewards", "terminated", "mask"])
def test_rewards_and_flags_may_be_of_any_real_type(field: str, kind: torch.dtype) -> None:
    plain = getattr(minibatch(), field)
    given = minibatch(**{field: plain.to(kind)})
    as_float = minibatch(**{field: plain.to(kind).float()})
    assert loss(given).item() == loss(as_float).item()


def test_mixed_precision_gives_the_loss_in_float32() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = loss()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(), rtol=0.05, atol=0.05)
    assert loss(critic=lambda s, a: critic(s, a).double()).item() == loss().item()


def test_a_second_derivative_is_an_error_and_not_a_wrong_number() -> None:
    weight = LAYER.weight
    (first,) = torch.autograd.grad(loss(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="got a second derivative"):
        torch.autograd.grad(first.square().sum(), weight)


def test_an_evolved_loss_is_no_objective() -> None:
    with pytest.raises(metagenrl.UsageError, match=r"^objective: got .*an evolved loss of --algo"):
        metagenrl.load_objective(GOLDEN.with_name("epg"))


@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.vmap])
def test_transforms_of_functions_are_refused_in_one_line(transform: Any) -> None:
    given = minibatch()

    def of_scale(scale: torch.Tensor) -> Any:
        return loss(given, lambda s: policy(s) * scale)

    scale = torch.ones(2 if transform is torch.func.vmap else ())
    with pytest.raises(ValueError, match=r"^policy's actions: got a tensor within a transform"):
        transform(of_scale)(scale)


def test_versions_and_seeds_of_numpy_are_numbers() -> None:
    assert metagenrl.load_objective(GOLDEN, version=np.int64(50)).version == 50
    seeds = [metagenrl.random_objective(seed).alpha for seed in (np.int64(4), 4)]
    torch.testing.assert_close(*seeds, rtol=0, atol=0)


def test_paths_may_begin_at_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(GOLDEN.parent))
    assert metagenrl.load_objective("~/cohort", version=50).version == 50
    assert metagenrl.read_run("~/cohort").path == GOLDEN
    assert metagenrl.Run("~/cohort").config == metagenrl.read_run(GOLDEN).config
