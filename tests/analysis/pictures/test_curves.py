"""Curves: what is drawn, by hand-made rows, and that a picture comes of it."""

import itertools
import math
import warnings
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metagenrl.analysis.confidence import mean_interval, student_t
from metagenrl.analysis.learning_curves import curves_of, drawable, read_curves
from metagenrl.analysis.mean_series import MeanSeries
from metagenrl.analysis.pictures import meta_training as curves_module
from metagenrl.analysis.pictures.meta_tests import meta_test_block
from metagenrl.analysis.pictures.meta_training import draw_meta_test, draw_summary, draw_training
from metagenrl.analysis.pictures.panels import NEUTRAL, Block, draw, row_labels
from metagenrl.analysis.population_curves import (
    ReturnsOverLives,
    population_returns,
)
from metagenrl.runs.metrics_file import MetricsWriter
from metagenrl.runs.names import CONFIG_FILE, EVALUATIONS_FILE, METRICS_FILE
from metagenrl.runs.rows import AgentRow, EvaluationRow, ObjectiveRow

ROW = AgentRow(
    time=1.0, round=1, version=1, agent=0, env="E", incarnation=0, steps=0, life=0, life_steps=0,
    state="learning", episodes=1, return_mean=None, return_last=None, episode_length=None, q=None,
    td_loss=None, objective_loss=None, policy_gradient_norm=None, gradient_norm=None,
    value_after=None, lag=0, restarts=0,
)  # fmt: skip
OBJECTIVE = ObjectiveRow(
    time=1.0, round=1, version=1, contributors=2, gradient_norm=0.5, update_norm=0.1,
    alpha_norm=18.0, cosine=0.25, cosine_by_env={"E": 0.5}, accepted=0, rejected=0, stale=0,
    duplicate=0, agent_steps=4, agent_steps_per_s=None,
)  # fmt: skip


def row(agent: int, steps: int, value: float | None, **changes) -> AgentRow:
    changes = {"life_steps": steps} | changes
    return replace(ROW, agent=agent, steps=steps, return_mean=value, **changes)


def evaluations(folder: Path, label: str, curves: dict[int, dict[int, float]], env="E") -> Path:
    rows = [
        EvaluationRow(label, env, seed, steps, value, (value,))
        for seed, curve in curves.items()
        for steps, value in curve.items()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    MetricsWriter(folder / EVALUATIONS_FILE).write(rows)
    return folder


def lives_of(rows: list[AgentRow]) -> dict[int, list[float]]:
    over_lives = ReturnsOverLives()
    for each in rows:
        over_lives.add(each)
    return over_lives.result()


def test_an_agent_keeps_its_return_until_the_next_one() -> None:
    curves = population_returns(
        [row(0, 10, 1.0), row(0, 20, None), row(1, 20, 5.0), row(0, 30, 3.0), row(1, 30, 7.0)]
    )
    assert curves.steps.tolist() == [15.0, 30.0]
    np.testing.assert_array_equal(curves.returns, [[1.0, 3.0], [math.nan, 7.0]])


def test_an_agent_that_failed_early_is_not_carried_on() -> None:
    rows = [row(0, steps, 1.0) for steps in range(1, 11)] + [row(1, 2, 9.0)]
    last = population_returns(rows).returns[1]
    assert last[1] == 9.0
    assert np.isnan(last[3:]).all()


def test_a_restarted_agent_replaces_what_it_repeats() -> None:
    rows = [row(0, 10, 1.0), row(0, 20, 2.0), row(0, 30, 9.0), row(0, 20, 4.0, incarnation=1)]
    assert population_returns(rows).returns.tolist() == [[1.0, 4.0]]


def test_an_environment_without_episodes_has_no_curve() -> None:
    assert population_returns([row(0, 10, None)]).steps.size == 0


def test_the_end_of_a_life_is_its_last_fifth() -> None:
    """Lives 0 and 1 of agent 0 have ended; agent 1 is still in its first."""
    rows = [
        row(0, 50, -9.0, life_steps=50),
        row(0, 85, 1.0, life_steps=85, episodes=3),
        row(0, 100, 5.0, life_steps=100, episodes=1),
        row(0, 120, 7.0, life=1, life_steps=20),
        row(0, 200, None, life=1, life_steps=100),
        row(0, 220, 0.0, life=2, life_steps=20),
        row(1, 200, 50.0, life_steps=200),
    ]
    assert lives_of(rows) == {0: [2.0], 1: [7.0]}  # (3 * 1 + 5) / 4; the last one known


def test_a_life_that_a_restart_repeats_counts_once() -> None:
    rows = [
        row(0, 90, 1.0, life_steps=90),
        row(0, 100, 1.0, life_steps=100),
        row(0, 110, 0.0, life=1, life_steps=10),
        row(0, 95, 5.0, life_steps=95, incarnation=1),
        row(0, 100, 7.0, life_steps=100, incarnation=1),
        row(0, 110, 0.0, life=1, life_steps=10, incarnation=1),
    ]
    assert lives_of(rows) == {0: [6.0]}


def series_of(values: list[float | None], bins: int) -> tuple[list[float], list[float]]:
    series = MeanSeries(bins)
    for x, value in enumerate(values):
        series.add(float(x), value)
    xs, means = series.arrays()
    return xs.tolist(), means.tolist()


def test_a_series_is_exact_until_it_is_full_and_skips_what_is_unknown() -> None:
    assert series_of([1.0, None, 3.0, math.nan], 4) == ([0.0, 2.0], [1.0, 3.0])


def test_a_full_series_keeps_means_of_neighbours() -> None:
    assert series_of([1.0, 3.0, 5.0, 7.0, 9.0], 4) == ([1.0, 3.0, 4.0], [2.0, 6.0, 9.0])
    xs, means = series_of([float(i) for i in range(1_000)], 4)
    assert xs == [255.0, 511.0, 767.0, 999.0]  # bins of 256
    assert means == [127.5, 383.5, 639.5, 883.5]


def test_a_cut_series_goes_on_with_what_comes_next() -> None:
    series = MeanSeries(4)
    for x in range(4):
        series.add(float(x), 1.0)
    series.cut(2.0)
    series.add(2.5, 8.0)
    assert series.arrays()[0].tolist() == [0.0, 1.0, 2.5]
    assert series.arrays()[1].tolist() == [1.0, 1.0, 8.0]


def test_student_t_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    degrees = np.array([*range(1, 41), 99, 1000])
    expected = stats.t.ppf(0.975, degrees)
    np.testing.assert_allclose([student_t(int(d)) for d in degrees], expected, rtol=1e-4)


def test_mean_interval_by_hand() -> None:
    estimate = mean_interval([1.0, 2.0, 3.0])  # s = 1, t = 4.3027
    assert estimate.mean == 2.0
    assert estimate.half_width == pytest.approx(4.3027 / math.sqrt(3))
    assert math.isnan(mean_interval([1.0]).half_width)
    with pytest.raises(ValueError, match="values: got none"):
        mean_interval([])


def test_seeds_of_several_folders_are_agents_of_one_label(tmp_path: Path) -> None:
    one = evaluations(tmp_path / "1", "td3", {0: {0: 1.0, 10: 2.0}, 1: {0: 3.0}})
    two = evaluations(tmp_path / "2", "td3", {0: {0: 5.0, 10: 6.0}})
    (curves,) = read_curves([one, two])
    assert (curves.env, curves.label, curves.steps.tolist()) == ("E", "td3", [0.0, 10.0])
    np.testing.assert_array_equal(curves.returns, [[1, 2], [3, math.nan], [5, 6]])
    assert (curves.final.tolist(), curves.unfinished) == ([2.0, 6.0], 1)


def test_a_repeated_evaluation_counts_once(tmp_path: Path) -> None:
    folder = evaluations(tmp_path, "td3", {0: {10: 1.0}})
    evaluations(tmp_path, "td3", {0: {10: 2.0}})
    assert read_curves([folder])[0].final.tolist() == [2.0]


def training_run(folder: Path, lives: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).write_text("agents: 2\n")
    writer = MetricsWriter(folder / METRICS_FILE)
    for step in range(1, 21):
        rows = [
            row(i, step, float(step + i), env="EF"[i % 2], life=step * lives // 21) for i in (0, 1)
        ]
        writer.write([*rows, replace(OBJECTIVE, agent_steps=2 * step)])
    return folder


def capture_blocks(monkeypatch: pytest.MonkeyPatch) -> list[Block]:
    taken: list[Block] = []
    original = curves_module.draw

    def draw(title: str, blocks: list[Block], out: Path) -> Path:
        taken.extend(blocks)
        return original(title, blocks, out)

    monkeypatch.setattr(curves_module, "draw", draw)
    return taken


def panel_axes(block: Block, index: int) -> Axes:
    axes = Figure().subplots()
    block.panels[index](axes)
    return axes


def test_training_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = capture_blocks(monkeypatch)
    path = draw_training(training_run(tmp_path / "run", lives=3))
    assert path == tmp_path / "run" / "curves.png"
    assert matplotlib.image.imread(path).std() > 0.05
    assert [len(block.panels) for block in blocks] == [2, 2, 3]
    returns = panel_axes(blocks[0], 0)
    assert returns.get_title() == "E"
    np.testing.assert_allclose(returns.lines[-1].get_ydata(), np.arange(1, 21))  # mean of one
    lives = panel_axes(blocks[1], 1)
    assert lives.lines[-1].get_xdata().tolist() == [0, 1]
    # Panels show the steps of one agent, half of the population's.
    assert panel_axes(blocks[2], 0).lines[-1].get_xdata().max() == 20


def test_agents_with_other_evaluations_do_not_come_and_go() -> None:
    agents = [{0: 1.0, 200: 1.0, 400: 1.0}, {0: 3.0, 100: 9.0, 200: 3.0, 300: 9.0, 400: 3.0},
              {0: 2.0, 200: 2.0}]  # fmt: skip
    drawn = drawable(curves_of("E", "td3", [0, 1, 2], agents))
    assert drawn.steps.tolist() == [0, 200, 400]  # the third has failed, and counts until then
    assert drawn.returns[:, 1].tolist() == [1.0, 3.0, 2.0]


@pytest.mark.parametrize("rules", [2, 13])
def test_long_names_leave_panels_their_room(rules: int, tmp_path: Path) -> None:
    names = [f"learned objective v{i} (resample_noise=0.2, objective=cf0356e835e1)" for i in
             range(rules)]  # fmt: skip

    def panel(axis: Axes) -> None:
        axis.plot([0, 1], [0, rules])
        row_labels(axis, names)
        axis.set_title("my_env:AnEnvironmentWhoseNameIsLongerThanThePanelIsWide-v0")
        widths.append(axis)

    widths: list[Axes] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw("A title " * 30, [Block("rows", [panel] * 3, named_rows=rules)], tmp_path / "a.png")
    for axis in widths:
        box = axis.get_window_extent()
        assert box.width > 200
        labels = [label.get_window_extent() for label in axis.get_yticklabels()]
        for one, other in itertools.pairwise(labels):
            assert one.y0 >= other.y1 - 2 or other.y0 >= one.y1 - 2


def test_settings_of_an_environments_module_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training_run(tmp_path / "run", lives=3)
    plain = draw_training(run).read_bytes()
    with matplotlib.rc_context():
        matplotlib.rcParams.update({"text.usetex": True, "font.size": 30, "lines.linewidth": 9})
        assert draw_training(run).read_bytes() == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_without_lives_there_is_no_generation_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = capture_blocks(monkeypatch)
    draw_training(training_run(tmp_path))
    assert [len(block.panels) for block in blocks] == [2, 0, 3]


def test_a_run_without_rows_has_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one panel"):
        draw_training(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_meta_test_panels_show_mean_interval_and_seeds(tmp_path: Path) -> None:
    learned = evaluations(tmp_path / "a", "learned", {i: {0: 0.0, 9: float(i)} for i in range(3)})
    control = evaluations(tmp_path / "b", "random objective", {0: {0: 0.0, 9: 1.0}})
    block = meta_test_block([learned, control], ["E"])
    assert block.labels == ["learned", "random objective"]
    axes = panel_axes(block, 0)
    assert axes.get_title() == "E (seen)"
    named = {line.get_label(): line for line in axes.lines if line.get_label()[0] != "_"}
    assert named["learned"].get_ydata().tolist() == [0.0, 1.0]
    assert named["random objective"].get_color() == NEUTRAL
    assert len(axes.lines) == 2 + 3 + 1
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(1 + 4.3027 / math.sqrt(3))
    assert axes.get_ylim()[1] < 2.5  # the interval is wider than all returns


def test_meta_test_and_summary_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = capture_blocks(monkeypatch)
    run = training_run(tmp_path / "run")
    envs = ["E", "F", "G", "H"]
    tests = [
        evaluations(tmp_path / env, "learned objective v3", {0: {0: 0.0, 9: 1.0}}, env)
        for env in envs
    ]
    for path in (
        draw_meta_test(tests, tmp_path / "new" / "tests.png", ["E"]),
        draw_summary(run, tests, tmp_path / "summary.png"),
    ):
        assert matplotlib.image.imread(path).std() > 0.05
    assert [len(block.panels) for block in blocks] == [4, 4, 2, 0, 3]
    titles = [panel_axes(blocks[1], index).get_title() for index in range(4)]
    assert titles == ["E (seen)", "F (seen)", "G (unseen)", "H (unseen)"]
    with pytest.raises(ValueError, match="at least one panel"):
        draw_meta_test([], tmp_path / "none.png")


def test_nothing_is_clipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outermost pixels of the picture are all white."""
    label = "learned objective v12000 of a run with a rather long name"
    tests = [
        evaluations(tmp_path / f"{i}", f"{label} {i}", {0: {0: -1e5, 10**6: 1.0}}) for i in range(3)
    ]
    image = matplotlib.image.imread(draw_meta_test(tests, tmp_path / "out.png", ["E"]))
    edges = (image[0], image[-1], image[:, 0], image[:, -1])
    assert all((edge == 1.0).all() for edge in edges)
