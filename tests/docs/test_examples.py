"""What the pages give to copy runs as it stands."""

import re
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def test_the_complete_example_trains_the_policy() -> None:
    (code,) = [block for block in blocks("using_in_code.md") if "optimizer.step()" in block]
    scope: dict[str, object] = {}
    exec(compile(code.replace("range(600)", "range(230)"), "using_in_code.md", "exec"), scope)
    (weight, *_) = scope["policy"].parameters()  # type: ignore[attr-defined]
    assert weight.grad.abs().sum() > 0
    assert np.isfinite(float(scope["loss"].detach()))  # type: ignore[attr-defined]


def test_the_environment_of_the_page_runs_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "\n\n".join(blocks("environments.md"))
    (tmp_path / "page_env.py").write_text(code.replace("my_env:", "page_env:"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "page_env", raising=False)
    env = gym.make("page_env:DrawnReach-v0", render_mode="rgb_array", force=0.2)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    assert env.render().shape == (120, 120, 3)
