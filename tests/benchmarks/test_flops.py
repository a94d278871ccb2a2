"""The work is counted right: by hand, and against what torch multiplies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.flops import Product, Work, flops
from benchmarks.problem import Problem, preset_problem, synthetic_batch
from benchmarks.project import ProjectAgent
from metagenrl.learner.native import library


def test_one_product_is_counted_by_hand() -> None:
    assert Product(5, 3, 2, times=4).flops == 4 * 5 * 2 * (3 + 3)


def test_critic_update_by_hand(wide: Problem) -> None:
    """N = 20 rows, O = 3, A = 3, 7 units; policy 3-7-7-3, critics 6-7-7-1."""
    policy, critic = 3 * 7 + 7 * 7 + 7 * 3, 6 * 7 + 7 * 7 + 7 * 1
    targets = policy + 2 * critic
    online = 2 * (critic + critic + (7 * 7 + 7 * 1))  # value, weights, inputs past the first
    assert flops(Work(wide).critic_update()) == 2 * 20 * (targets + online)


def test_policy_update_by_hand(wide: Problem) -> None:
    """As above; objective 2-4-4-4 on 60 pairs, 4-4-4-2, LSTM of 3 units, head 3-4-4-1."""
    policy, critic = 3 * 7 + 7 * 7 + 7 * 3, 6 * 7 + 7 * 7 + 7 * 1
    values = 24 * (policy + critic)  # and the last next state of each of the 4 segments
    pairs, head = 2 * 4 + 4 * 4 + 4 * 4, 3 * 4 + 4 * 4 + 4 * 1
    lstm = 4 * 12 + 2 * 12 + 3 * 12  # embedded actions, constants, state
    objective = 60 * pairs + 20 * (4 * 4 + 4 * 4 + 4 * 2 + lstm + head)
    adjoint = 20 * (head + 3 * 12 + 4 * 12) + 60 * pairs
    gradient = 20 * (policy + 7 * 7 + 7 * 3)
    assert flops(Work(wide).policy_update()) == 2 * (values + objective + adjoint + gradient)


def test_paper_sizes_need_gigaflops() -> None:
    """Counted independently of this code, to its two digits; 10.3 is without any sharing."""
    work = Work(preset_problem("paper"))
    critic, policy, objective, step = (
        flops(products) / 1e9
        for products in (
            work.critic_update(), work.policy_update(), work.objective_gradient(), work.learn(),
        )
    )  # fmt: skip
    assert critic == pytest.approx(4.65, abs=0.01)
    assert policy == pytest.approx(2.32, abs=0.02)
    assert objective == pytest.approx(8.91, rel=0.01)
    assert step / 2 == pytest.approx(4.65 + 8.91 / 2, rel=0.01)
    assert critic + (policy + objective) / 2 == pytest.approx(10.3, abs=0.05)


FIRST_FACTOR = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1, "addmm_": 1, "baddbmm_": 1}


class Multiplications(TorchDispatchMode):
    """Counts the operations of every matrix product that torch carries out."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function._schema.name.removeprefix("aten::")
        if name in FIRST_FACTOR:
            left, right = args[FIRST_FACTOR[name] :][:2]
            self.flops += 2 * left.numel() * right.shape[-1]
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("count", "method", "minibatches"),
    [
        (Work.critic_update, "update_critic", 1),
        (Work.policy_update, "update_policy", 1),
        (Work.objective_gradient, "objective_gradient", 2),
        (Work.policy_and_objective, "update_policy_and_objective", 2),
    ],
)
def test_the_project_multiplies_what_is_counted(
    count: Callable[[Work], list[Product]],
    method: str,
    minibatches: int,
    wide: Problem,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In plain torch, where the LSTM's products are torch's too."""
    monkeypatch.setattr(library, "_LIBRARY", None)
    generator = torch.Generator().manual_seed(0)
    batches = [synthetic_batch(wide, generator) for _ in range(minibatches)]
    agent = ProjectAgent(wide)
    with Multiplications() as done:
        getattr(agent, method)(*batches)
    assert done.flops == flops(count(Work(wide)))
