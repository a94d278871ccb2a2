"""`metagenrl enjoy`, `record` and `export`: what a run's trained policy does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from metagenrl.agents.environment.limits import EPISODE_LIMIT
from metagenrl.base.checks import integer_at_least
from metagenrl.base.paths import check_file
from metagenrl.base.wording import counted
from metagenrl.commands.parsing import parse
from metagenrl.runs.config.yaml import build
from metagenrl.runs.folder import check_is_run


@dataclass(frozen=True, kw_only=True)
class SeenPolicy:
    """A run's policy."""

    run: Positional[Path]
    """Folder of a test, a baseline or a population."""
    seed: int | None = None
    """Seed of the agent (population: number of the agent); None: the first that is there."""
    first_state: int = 0
    """Seed of the first episode's initial state; the next ones count on."""

    def __post_init__(self) -> None:
        integer_at_least(0, first_state=self.first_state)


@dataclass(frozen=True, kw_only=True)
class EnjoyConfig(SeenPolicy):
    """Run a trained policy and print its returns; in a window where there is a display."""

    episodes: int = 5
    """Episodes to run."""
    window: bool = True
    """Open a window where there is a display."""

    def __post_init__(self) -> None:
        super().__post_init__()
        integer_at_least(1, episodes=self.episodes)


@dataclass(frozen=True, kw_only=True)
class RecordConfig(SeenPolicy):
    """Film one episode of a trained policy; no display is needed."""

    out: Path
    """File that ends in .mp4 or .gif."""
    max_steps: int = EPISODE_LIMIT
    """Steps to film at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        integer_at_least(1, max_steps=self.max_steps)


@dataclass(frozen=True, kw_only=True)
class ExportConfig(SeenPolicy):
    """Write a trained policy for other programs: observations `[N, O]` to actions `[N, A]`."""

    out: Path
    """File to write, .onnx, .pt or .pth; with `--format` it may end in any other way."""
    format: Literal["auto", "onnx", "torchscript"] = "auto"
    """`auto`: as `--out` ends, TorchScript in .pt and .pth. ONNX needs its package: pip install
    'metagenrl[onnx]'."""


def seeing_config(cls: type[SeenPolicy]) -> Callable[[Sequence[str]], Any]:
    """The parser of such a command, which raises `UsageError`."""
    return lambda argv: build(cls, parse(cls, argv))


def check_seeing(config: SeenPolicy) -> None:
    """Refuse what is no run, and a file that cannot be written."""
    check_is_run("run", config.run)
    if isinstance(config, RecordConfig):
        from metagenrl.policies.film import check_format

        check_format(config.out)
    if isinstance(config, ExportConfig):
        from metagenrl.policies.export import format_of, require_onnx

        check_file("out", config.out)
        if format_of(config.out, config.format) == "onnx":
            require_onnx()


def enjoy(config: EnjoyConfig) -> int:
    """Print a line for each episode and one about the actions; 0."""
    from metagenrl.policies.actions import action_facts
    from metagenrl.policies.play import episode, has_display

    policy = _policy(config)
    actions: list[Any] = []
    mode = "human" if config.window and has_display() else None
    for index in range(config.episodes):
        lived = episode(policy, config.first_state + index, mode, acted=actions.append)
        print(f"episode {index}: {_in_words(lived)}", flush=True)
    print(action_facts(actions))
    return 0


def record(config: RecordConfig) -> int:
    """Write the film; 0. Raises `UsageError` where this machine cannot draw."""
    from metagenrl.policies.film import film
    from metagenrl.policies.play import prepare_drawing

    prepare_drawing()
    lived = film(_policy(config), config.first_state, config.out, config.max_steps)
    print(f"{config.out}: {_in_words(lived)}")
    return 0


def _in_words(lived: Any) -> str:
    """The return and the length of an episode, and whether it was cut."""
    cut = " (cut: the episode had not ended)" if lived.cut else ""
    return f"return {lived.undiscounted_return:,.1f}, {counted(lived.length, 'step')}{cut}"


def export_policy(config: ExportConfig) -> int:
    """Write the network; 0."""
    from metagenrl.policies.export import export, format_of

    policy = _policy(config)
    export(policy, format_of(config.out, config.format), config.out)
    facts = policy.facts
    sizes = f"observations [N, {facts.observation_size}] to actions [N, {facts.action_size}]"
    print(f"{config.out}: {sizes} in [-1, 1], of {facts.env}")
    return 0


def _policy(config: SeenPolicy) -> Any:
    from metagenrl.policies.find import kept_policy

    policy = kept_policy(config.run, config.seed)
    facts = policy.facts
    print(f"{facts.label}, {facts.env}, seed {facts.seed}, after {facts.steps:,} steps", flush=True)
    return policy
