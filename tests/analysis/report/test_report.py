"""The whole report: what is on the page, and that the page needs nothing else."""

import re
import shutil
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.image
import pytest

from metagenrl.analysis.report.assemble import make_report
from metagenrl.analysis.run_history import read_history
from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.runs.metrics_file import MetricsWriter, read_metrics
from metagenrl.runs.names import METRICS_FILE
from metagenrl.runs.rows import EventRow
from metagenrl.runs.run_records import HeldOutRow


class Page(HTMLParser):
    """Elements, tables as rows of texts, and the text by section."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.sections: dict[str, str] = {}
        self._section, self._in_cell = "", False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self._section = str(dict(attrs)["id"])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True
        elif tag == "small":
            self.rows[-1][-1] += " | "

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        self.sections[self._section] = self.sections.get(self._section, "") + data
        if self._in_cell:
            self.rows[-1][-1] += data

    def row(self, name: str) -> list[str]:
        return next(row for row in self.rows if row and row[0] == name)


@pytest.fixture
def page(reported: Path) -> Page:
    return Page(reported / "report" / "report.html")


def test_the_page_stands_alone(page: Page, reported: Path) -> None:
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "object"} & set(names)
    targets = [a.get(key) or "" for _, a in page.tags for key in ("src", "href", "xlink:href")]
    assert all(target == "" or target.startswith("#") for target in targets)
    identifiers = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    panels = names.count("svg") - page.tags.count(
        ("svg", {"viewbox": "0 0 35 10", "aria-hidden": "true"})
    )
    assert panels == 2 + 2 + 3 + 1  # tests, population, objective, throughput
    sections = [a["id"] for tag, a in page.tags if tag == "section"]
    assert sections == ["glance", "results", "training-0", "configuration"]
    anchors = {target[1:] for target in targets if target.startswith("#")}
    assert anchors <= set(identifiers)
    written = sorted(path.name for path in (reported / "report").glob("*.png"))
    assert written == ["new-agents.png", "objective-0.png", "population-0.png", "throughput-0.png"]
    assert matplotlib.image.imread(reported / "report" / "new-agents.png").std() > 0.05


def test_the_table_marks_what_was_seen(page: Page) -> None:
    assert page.row("trained by") == ["trained by", "Hopper-v5", "Ant-v5"]
    _, hopper, ant = page.row("MetaGenRL Pendulum & Hopper, 4 agents")
    assert hopper.startswith("11 (")
    assert hopper.endswith(")† | IQM 11, 3 agents")
    assert ant.startswith("3 (1 … 6")  # above the control, and not known to be
    assert "†" not in ant
    assert page.row("random objective")[1] == "2 (2 … 2) | IQM 2, 2 agents"
    titles = [a["aria-label"] for tag, a in page.tags if tag == "svg" and a.get("role") == "img"]
    assert titles[:2] == ["Hopper-v5 (seen)", "Ant-v5 (unseen)"]


def test_the_top_tells_what_is_known(page: Page) -> None:
    text = " ".join(page.sections["glance"].split())
    assert (
        "better than the random objective, intervals apart, in 1 of 2 environments (Hopper)" in text
    )
    assert "4,000 of 4,000 agent-steps (100%)" in text
    assert "Hopper-v5: return of the population 2.5 → 10.5 (up)" in text  # 0..1, 8..9, plus 2
    assert "cosine between agents' meta-gradients +0.25" in text


def test_a_change_within_two_standard_errors_is_no_trend(train_run, tmp_path: Path) -> None:
    """Two agents, at 0 and 100, rise by 4: their mean is known to 50."""
    run = train_run("run", agents=2)
    kept = read_metrics(run)
    rows = [replace(r, agent=a, env="E", return_mean=100.0 * a + 4 * (r.steps > 500))
            for r in kept.agents if r.agent == 0 for a in (0, 1)]  # fmt: skip
    (run / METRICS_FILE).unlink()
    MetricsWriter(run / METRICS_FILE).write(rows)
    page = Page(make_report([tmp_path], tmp_path / "out"))
    assert "E: return of the population 50 → 54 (no clear change)" in page.sections["glance"]


def test_one_agent_has_no_trend(train_run, tmp_path: Path) -> None:
    run = train_run("run", agents=2)
    rows = [replace(row, env="E", return_mean=-float(row.steps))
            for row in read_metrics(run).agents if row.agent == 0]  # fmt: skip
    (run / METRICS_FILE).unlink()
    MetricsWriter(run / METRICS_FILE).write(rows)
    glance = Page(make_report([tmp_path], tmp_path / "out")).sections["glance"]
    assert "(of one agent)" in glance
    assert "(down)" not in glance


@pytest.mark.parametrize(("rejected", "sign"), [(10, "good"), (11, "warning")])
def test_more_than_a_hundredth_refused_is_a_warning(
    train_run, tmp_path: Path, rejected: int, sign: str
) -> None:
    run = train_run("run")
    last = read_metrics(run).objective[-1]
    row = replace(last, accepted=1_000 - rejected, rejected=rejected)
    MetricsWriter(run / METRICS_FILE).write([row])
    text = make_report([tmp_path], tmp_path / "out").read_text()
    (line,) = [line for line in text.splitlines() if f"{rejected} refused" in line]
    assert f'class="{sign}"' in line


def test_faults_are_counted_and_told(page: Page) -> None:
    counted = page.rows[page.rows.index(["what", "times"]) + 1 :]
    assert [row for row in counted if len(row) == 2] == [["restarted", "2"]]
    told = [row for row in page.rows if len(row) == 3 and row[1] == "1"]
    assert [row[2] for row in told] == ["restarted (1/5) at step 500: <killed>"] * 2
    assert "1 checkpoint, 0 rebirths" in page.sections["training-0"]


def test_what_a_run_was_told_to_do_is_no_fault(train_run, tmp_path: Path) -> None:
    run = train_run("run")
    kept = read_metrics(run)
    told = ["joined", "joined", "left", "paused", "resumed", "scaled", "complete", "stopped"]
    events = [EventRow(50.0, 250, what, 1, "") for what in told]
    (run / METRICS_FILE).unlink()
    MetricsWriter(run / METRICS_FILE).write([*kept.agents, *kept.objective, *events])
    page = Page(make_report([tmp_path], tmp_path / "out"))
    text = " ".join(page.sections["training-0"].split())
    counts = "(0 checkpoints, 0 rebirths, 2 agents joined, 1 left, 1 pause)"
    assert f"Faults: none {counts}" in text
    assert "Faults survived" not in text


def test_throughput_and_configuration(page: Page) -> None:
    assert page.row("agent-steps per second")[1] == f"{4_000 / 99:.1f}"
    assert page.row("run")[1:4] == ["environments", "agents", "steps"]
    assert "steps: 1000" in page.sections["configuration"]


def test_population_sizes_are_compared(train_run, new_agents, tmp_path: Path) -> None:
    for agents, value in ((4, 1.0), (8, 5.0)):
        train_run(f"run-{agents}", agents=agents)
        new_agents(
            f"test-{agents}", "Ant-v5", [{100: value}, {100: value}], "learned",
            run=f"id-run-{agents}", version=1, environments=["Hopper-v5"],
        )  # fmt: skip
    page = Page(make_report([tmp_path], tmp_path / "out"))
    assert "Return of new agents by number of agents" in page.sections["comparison"]
    assert page.row("4 agents") == ["4 agents", "1 (1 … 1)"]
    assert page.row("8 agents") == ["8 agents", "5 (5 … 5)"]


def test_an_ablation_without_tests_compares_populations(train_run, tmp_path: Path) -> None:
    train_run("with")
    train_run("without", objective=ObjectiveConfig(use_time=False))
    page = Page(make_report([tmp_path], tmp_path / "out"))
    text = page.sections["comparison"]
    assert "Return of the population by set-up" in text
    assert "no evidence" in text
    # The last fifth of ten intervals: 8.5, and agents 0 and 2, or 1 and 3.
    row = page.row("4 agents, use_time=False")
    assert [cell.split(" (")[0] for cell in row[1:]] == ["9.5", "10.5"]
    assert page.row("objective.use_time") == ["objective.use_time", "True", "True", "False"]


def test_progress_by_version_from_tests_and_held_out_evaluation(
    train_run, new_agents, tmp_path: Path
) -> None:
    run = train_run("run")
    origin = {"run": "id-run", "environments": ["Hopper-v5"]}
    for version in (1, 9):
        curves = [{100: float(version)}] * 2
        new_agents(f"run/tests/{version}", "Ant-v5", curves, "learned", version=version, **origin)
    new_agents("run/tests/random", "Ant-v5", [{100: 0.0}], "random")
    row = HeldOutRow(200.0, 9, 1, 100, "Walker2d-v5", 0, 50, 3.0, (3.0,))
    MetricsWriter(run / METRICS_FILE).write([row, replace(row, version=9, return_mean=4.0)])
    page = Page(make_report([run], tmp_path / "out"))
    titles = [a.get("aria-label") for tag, a in page.tags if tag == "svg"]
    assert {"Ant-v5", "Walker2d-v5"} <= set(titles)
    assert "run, held-out" in page.sections["versions"]
    assert "Dashed: the objective that was never trained." in page.sections["versions"]
    text = (tmp_path / "out" / "report.html").read_text()
    legend = re.findall(r'style="stroke: ([^"]+)"[^<]*/></svg>(run|run, held-out)<', text)
    assert len({color for color, _ in legend}) == len(legend) == 2


def test_only_baselines_are_a_report_too(new_agents, tmp_path: Path) -> None:
    new_agents("td3", "Ant-v5", [{0: 1.0, 100: 2.0}])
    page = Page(make_report([tmp_path / "td3"], tmp_path / "out"))
    assert page.row("td3")[1] == "2 | IQM 2, 1 agent"
    assert "No meta-tests yet" in page.sections["glance"]


def test_agents_that_ended_before_they_learned_are_told(new_agents, tmp_path: Path) -> None:
    new_agents("short", "Ant-v5", [{0: 1.0, 100: 2.0}])
    new_agents("long", "Hopper-v5", [{0: 1.0, 1_000: 2.0}], steps=1_000)
    page = Page(make_report([tmp_path / "short", tmp_path / "long"], tmp_path / "out"))
    said = "in Ant-v5: learning begins at step 1,000, these agents ended after 100"
    assert said in page.sections["glance"]
    assert page.sections["glance"].count("learning begins") == 1


def test_names_from_files_are_no_markup(train_run, tmp_path: Path) -> None:
    train_run("<script>alert(1)<")
    text = make_report([tmp_path], tmp_path / "out").read_text()
    assert "<script" not in text
    assert "&lt;script" in text


def test_drawings_follow_the_page(page: Page, reported: Path) -> None:
    """No colour of the light scheme is fixed in a drawing, and no identifier is used twice."""
    text = (reported / "report" / "report.html").read_text()
    drawings = re.findall(r"<svg viewBox=.*?</svg>", text, re.DOTALL)
    for drawing in drawings:
        assert not re.search(r"(fill|stroke): *#(?!fff)[0-9a-fA-F]{6}", drawing)
    identifiers = [
        name
        for drawing in drawings
        for name in re.findall(r'\bid="(m[0-9a-f]+|p[0-9a-f]+)"', drawing)
    ]
    assert identifiers
    assert len(identifiers) == len(set(identifiers))


def test_a_long_history_takes_no_more_memory_than_a_short_one(train_run) -> None:
    folder = train_run("run")
    lines = (folder / METRICS_FILE).read_bytes()

    def peak() -> int:
        tracemalloc.start()
        try:
            read_history(folder)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    (folder / METRICS_FILE).write_bytes(lines * 100)
    short = peak()
    (folder / METRICS_FILE).write_bytes(lines * 400)
    assert peak() < 1.3 * short


def test_agents_that_two_folders_hold_count_once(
    new_agents: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = new_agents("td3", "Ant-v5", [{0: 1.0, 100: 2.0}, {0: 1.0, 100: 4.0}])
    copy = shutil.copytree(first, tmp_path / "copy")
    longer = new_agents("longer", "Ant-v5", [{0: 1.0, 200: 2.0}], steps=200)
    page = Page(make_report([first, copy, longer], tmp_path / "report"))
    assert any("IQM 3, 2 agents" in cell for row in page.rows for cell in row)
    assert caplog.messages == [f"{copy} is left out: its agents are those of {first}"]
