"""Evolution strategies against a gradient that is known, and ranks by hand."""

import numpy as np
import pytest
import torch

from metagenrl.baselines.epg.evolution_strategies import (
    centered_ranks,
    evolution_gradient,
    noise_vectors,
)
from metagenrl.baselines.epg.outer_loop import LossEvolution
from metagenrl.runs.config.epg_config import EvolutionConfig


def test_the_estimate_is_the_gradient_of_a_linear_function() -> None:
    """F = <c, phi>: with an orthogonal basis as noise, both signs, the estimate is exactly c."""
    c = np.array([3.0, -1.0, 2.0])
    basis = np.sqrt(3) * np.eye(3, dtype=np.float32)  # so that the mean of eps eps^T is I
    noise = np.concatenate([basis, -basis])
    phi, sigma = np.array([5.0, 7.0, -2.0]), 0.1
    scores = (phi + sigma * noise) @ c
    np.testing.assert_allclose(evolution_gradient(scores, noise, sigma), c, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_estimate_approaches_the_gradient_of_a_quadratic(seed: int) -> None:
    """F = -|phi - b|^2 / 2 has gradient b - phi, also after smoothing by Gaussian noise."""
    rng = np.random.default_rng(seed)
    phi, b = rng.normal(size=5), rng.normal(size=5)
    noise = noise_vectors(20_000, 5, True, rng)
    sigma = 0.5
    scores = -0.5 * np.square(phi + sigma * noise - b).sum(1)
    estimate = evolution_gradient(scores, noise, sigma)
    # Its standard error is about |b - phi| / sqrt(10 000 pairs) a dimension.
    np.testing.assert_allclose(estimate, b - phi, atol=0.05 * np.linalg.norm(b - phi))


def test_antithetic_vectors_come_in_pairs() -> None:
    noise = noise_vectors(6, 4, True, np.random.default_rng(0))
    np.testing.assert_array_equal(noise[1::2], -noise[::2])
    assert len(np.unique(np.abs(noise), axis=0)) == 3
    with pytest.raises(ValueError, match="noise_vectors: got 5, allowed: an even number"):
        noise_vectors(5, 4, True, np.random.default_rng(0))
    assert len(np.unique(np.abs(noise_vectors(5, 4, False, np.random.default_rng(0))))) == 20


def test_ranks_are_taken_within_a_group() -> None:
    fitness = [-1000.0, 3.0, -200.0, 1.0, -500.0, 2.0]
    ranks = centered_ranks(fitness, ["A", "B", "A", "B", "A", "B"])
    np.testing.assert_array_equal(ranks, [-0.5, 0.5, 0.5, -0.5, 0.0, 0.0])


def test_equal_fitness_has_equal_ranks_and_the_worst_may_be_infinitely_bad() -> None:
    np.testing.assert_array_equal(centered_ranks([4.0, 4.0, 4.0], "AAA"), [0, 0, 0])
    np.testing.assert_array_equal(centered_ranks([1.0, 2.0, 2.0], "AAA"), [-0.5, 0.25, 0.25])
    np.testing.assert_array_equal(
        centered_ranks([-np.inf, 2.0, -np.inf], "AAA"), [-0.25, 0.5, -0.25]
    )
    np.testing.assert_array_equal(centered_ranks([7.0], "A"), [0])


CONFIG = EvolutionConfig(generations=40, noise_vectors=8, sigma=0.1, learning_rate=0.1)


def evolved(seed: int, stop_at: int | None = None) -> LossEvolution:
    """40 generations that maximise -|phi - 1|^2; a stop is a save and a restore."""
    evolution = LossEvolution(CONFIG, torch.zeros(6), seed)
    while evolution.generation < CONFIG.generations:
        fitness = -np.square(evolution.perturbed() - 1.0).sum(1)
        evolution.update(list(fitness), ["A"] * 8)
        if evolution.generation == stop_at:
            state = evolution.state_dict()
            evolution = LossEvolution(CONFIG, torch.zeros(6), seed)
            evolution.load_state_dict(state)
    return evolution


@pytest.mark.parametrize("seed", range(3))
def test_parameters_climb_a_quadratic(seed: int) -> None:
    # From 0, at distance sqrt(6) = 2.4 of the optimum, to less than a third of it.
    assert torch.linalg.vector_norm(evolved(seed).phi - 1.0) < 0.8


def test_a_restored_evolution_goes_on_to_the_same_bits() -> None:
    assert torch.equal(evolved(3).phi, evolved(3, stop_at=17).phi)


def test_failed_loops_count_for_nothing() -> None:
    fitness: list[float | None] = [float(i) for i in range(8)]
    evolution = LossEvolution(CONFIG, torch.zeros(6), 0)
    noise = evolution.perturbed() / CONFIG.sigma
    fitness[0] = fitness[5] = None
    norm = evolution.update(fitness, ["A"] * 8)
    kept = [1, 2, 3, 4, 6, 7]
    expected = np.linspace(-0.5, 0.5, 6) @ noise[kept] / 6
    assert norm == pytest.approx(np.linalg.norm(expected), rel=1e-4)
    # Adam's first step without momentum: the learning rate along the sign.
    np.testing.assert_allclose(evolution.phi, 0.1 * np.sign(expected), rtol=1e-3)


def test_without_a_difference_the_parameters_stay() -> None:
    evolution = LossEvolution(CONFIG, torch.ones(6), 0)
    assert evolution.update([2.0] * 8, ["A"] * 8) == 0.0
    assert torch.equal(evolution.phi, torch.ones(6))
    assert evolution.generation == 1
    with pytest.raises(ValueError, match="fitness: got 'no value'"):
        evolution.update([None] * 8, ["A"] * 8)


def test_both_signs_of_a_vector_train_the_same_agent() -> None:
    evolution = LossEvolution(CONFIG, torch.zeros(6), 0)
    seeds = [evolution.agent_seed(vector) for vector in range(8)]
    assert seeds[::2] == seeds[1::2]
    assert len(set(seeds)) == 4
    evolution.generation = 1
    assert not set(seeds) & {evolution.agent_seed(vector) for vector in range(8)}


def test_the_ppo_loss_fades_and_the_step_size_falls() -> None:
    config = EvolutionConfig(generations=80, ppo_share=0.25, learning_rate=1.0)
    assert [config.ppo_weight(g) for g in (0, 5, 10, 20, 79)] == [1.0, 0.75, 0.5, 0.0, 0.0]
    assert EvolutionConfig(ppo_share=0.0).ppo_weight(0) == 0.0
    rates = [config.rate(g) for g in (0, 20, 40, 79)]
    np.testing.assert_allclose(rates, [1.0, 0.55, 0.1, 0.1])
