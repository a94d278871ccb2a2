"""A small agent, an objective and ragged minibatches, in float64, for every test of the maths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from metagenrl.learner.native import library
from metagenrl.learner.networks import mlp
from metagenrl.learner.native import objective as objective_fused
from metagenrl.learner.policy_value import PolicyEvaluation
from metagenrl.learner.hyperparams import AgentConfig, ObjectiveConfig
from metagenrl.learner.networks.mlp import Views
from metagenrl.learner.networks.agent_networks import AgentNetworks, initial_parameters
from metagenrl.learner.objective.net import ObjectiveNet, initial_alpha
from metagenrl.learner.policy_update import Learned
from metagenrl.learner.types import Batch
from torch import Tensor

SMALL = ObjectiveConfig(lstm_units=5, hidden_units=6, input_features=3)
LENGTHS = (6, 1, 4, 6, 2)  # valid steps of each segment; T is 6


@dataclass(frozen=True)
class Problem:
    """Parameters of every kind away from their initial zeros and ones, and minibatches."""

    nets: AgentNetworks
    phi: Tensor  # [1, P]
    theta: Tensor  # [E, P]
    net: ObjectiveNet
    alpha: Tensor  # [P_alpha]
    batches: tuple[Batch, ...]

    @property
    def phi_views(self) -> Views:
        return self.nets.policy.layout.views(self.phi)

    @property
    def theta_views(self) -> Views:
        return self.nets.critic.layout.views(self.theta)

    @torch.no_grad()
    def evaluation(self, batch: Batch | None = None) -> PolicyEvaluation:
        batch = self.batches[0] if batch is None else batch
        return PolicyEvaluation(self.nets, self.phi_views, self.theta_views, batch)

    def learned(self) -> Learned:
        return Learned(self.net, self.alpha)


def _batch(observations: int, actions: int, generator: torch.Generator) -> Batch:
    b, t = len(LENGTHS), max(LENGTHS)
    length = torch.tensor(LENGTHS)[:, None]
    mask = (torch.arange(t) < length).double()
    ends = (torch.arange(t) == length - 1) & (torch.arange(b) % 2 == 0)[:, None]
    normal = {"generator": generator, "dtype": torch.float64}
    s = torch.randn(b, t + 1, observations, **normal)
    return Batch(
        s * (torch.arange(t + 1) <= length)[..., None],
        (torch.rand(b, t, actions, **normal) * 2 - 1) * mask[..., None],
        (torch.randn(b, t, **normal) * 3 + 1) * mask,
        ends.double(),
        mask,
    )


def _perturbed(flat: Tensor, generator: torch.Generator) -> Tensor:
    return flat.double() + 0.2 * torch.randn(flat.shape, generator=generator, dtype=torch.float64)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """As an agent runs: at these sizes a second thread costs more than it does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def make_problem() -> Callable[..., Problem]:
    """`make(action_size, minibatches, seed, hidden_units, objective=config, **variant)`."""

    def make(
        action_size: int = 2,
        minibatches: int = 2,
        seed: int = 0,
        hidden_units: int = 7,
        objective: ObjectiveConfig = SMALL,
        **variant: object,
    ) -> Problem:
        generator = torch.Generator().manual_seed(seed)
        nets = AgentNetworks.of(AgentConfig(hidden_units=hidden_units), 3, action_size)
        phi = initial_parameters(nets.policy, 1, generator)
        theta = initial_parameters(nets.critic, nets.critics, generator)
        config = replace(objective, **variant)
        alpha = initial_alpha(config, generator)
        parameters = (_perturbed(x, generator) for x in (phi, theta, alpha))
        phi, theta, alpha = parameters
        batches = tuple(_batch(3, action_size, generator) for _ in range(minibatches))
        return Problem(nets, phi, theta, ObjectiveNet(config), alpha, batches)

    return make


@pytest.fixture(params=["fused", "layers", "torch"])
def each_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a test on whole updates in C, on C kernels layer by layer, and on plain torch."""
    if request.param == "torch":
        monkeypatch.setattr(library, "_LIBRARY", None)
    elif library.backend() == "torch":
        pytest.skip("the C kernels were not built")
    elif request.param == "layers":
        monkeypatch.setattr(mlp, "FUSED_UNITS", 0)  # of agents' networks and the objective's
        monkeypatch.setattr(objective_fused, "takes", lambda *_: False)
