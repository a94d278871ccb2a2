"""What counts as flat memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soak

SECONDS = np.arange(0.0, 1800.0, 10.0)


def flatness(driver: np.ndarray) -> soak.Trend:
    """The judgement on the driver, the other kinds being constant."""
    rest = np.full((len(SECONDS), len(soak.KINDS) - 1), 50.0)
    trends = soak.trends(SECONDS, np.column_stack([driver, rest]))
    assert all(trend.flat and trend.rise_mib == 0 for trend in trends[1:])
    return trends[0]


def test_growth_during_the_warm_up_is_allowed() -> None:
    trend = flatness(np.minimum(SECONDS, 600.0))
    assert trend.flat
    assert abs(trend.rise_mib) < 0.1
    assert trend.mean_mib == 600.0


def test_noise_is_allowed() -> None:
    noise = np.random.default_rng(0).normal(0.0, 3.0, len(SECONDS))
    assert flatness(300.0 + noise).flat


def test_a_leak_is_not() -> None:
    trend = flatness(300.0 + SECONDS * 20 / 1200)  # 20 MiB from the warm-up's end to the end
    assert not trend.flat
    assert trend.rise_mib == pytest.approx(20.0, rel=0.02)


@pytest.mark.slow
def test_a_short_soak_measures_every_kind(tmp_path: Path) -> None:
    argv = ["--minutes", "0.4", "--every", "2", "--out", str(tmp_path / "soak")]
    subprocess.run([sys.executable, str(soak.__file__), *argv], capture_output=True, check=False)
    report = json.loads((tmp_path / "soak.json").read_text())
    memory = {trend["kind"]: trend["mean_mib"] for trend in report["trends"]}
    assert memory["driver"] > 50
    assert memory["agents"] > 4 * 20
    assert memory["objective server"] > 10
    assert report["versions"] > 0
    assert (tmp_path / "soak.png").stat().st_size > 0
