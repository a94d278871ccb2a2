"""Damaged bytes in a population's checkpoints: loaded as they were written, or not at all."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metagenrl.agents.reports import MemberConfig
from metagenrl.base.files.checkpoint_folder import newest_complete, read_folder, write_folder
from metagenrl.base.files.errors import CorruptFile, FutureFormat
from metagenrl.learner.hyperparams import AgentConfig, MetaConfig, ObjectiveConfig
from metagenrl.learner.objective.net import ObjectiveNet
from metagenrl.objective_server.config import ServerConfig
from metagenrl.objective_server.server import ObjectiveServer
from metagenrl.objective_server.state import ServerState
from metagenrl.objective_server.store.in_folder import FileStore
from tests.fixtures.alone import Alone as Member

HERE = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
DAMAGED = (CorruptFile, FutureFormat)
States = dict[str, dict[str, Any]]


class Bomb:
    """Unpickled, it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def same(a: Any, b: Any) -> bool:
    """Equal to the bit."""
    if isinstance(a, Mapping):
        return isinstance(b, Mapping) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, np.ndarray):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    return type(a) is type(b) and repr(a) == repr(b)


class Run:
    """A folder with two checkpoints of two agents and their server, and the server's store."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.mark = folder, folder / "mark"
        self.checkpoints: dict[str, States] = {}
        self.commits: list[dict[str, Any]] = []
        self._train()
        self.files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        self._content = {path: path.read_bytes() for path in self.files}
        plain = pickle.dumps(Bomb(self.mark))
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:  # as torch.save makes it
            file.writestr("archive/data.pkl", plain)
        self.bombs = (plain, archive.getvalue())

    def _train(self) -> None:
        agent = AgentConfig(
            hidden_units=4, batch_size=2, learning_starts=8, random_steps=8, replay_capacity=32
        )
        objective = ObjectiveConfig(lstm_units=4)
        members = [
            Member(MemberConfig("r", 0, i, "Pendulum-v1", 0, agent, MetaConfig(), objective))
            for i in range(2)
        ]
        size = ObjectiveNet(objective).layout.size
        alpha = np.random.default_rng(0).normal(0.0, 0.1, size).astype(np.float32)
        state = ServerState.start("r", alpha, 0.1)
        server = ObjectiveServer(state, FileStore(self.folder), ServerConfig())
        for index in range(40):
            broadcast = server.broadcast()
            for member in members:
                report = member.round(broadcast.alpha, broadcast.version, index)
                if report.gradient is not None:
                    server.submit([report.gradient])
            server.close_round(index)
            self.commits.append(server.state_dict())
            if index >= 38:
                states = {f"agent-{m.config.index:04d}": m.state_dict() for m in members}
                states["server"] = server.state_dict()
                path = write_folder(self.folder / "checkpoints", f"round-{index}", states)
                self.checkpoints[path.name] = read_folder(path)
        assert server.version > 20

    def restore(self) -> None:
        """Everything as it was."""
        for path in self.folder.rglob("*"):
            if path.is_file() and path not in self._content:
                path.unlink()
        for path, content in self._content.items():
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)

    def damage(self, data: st.DataObject, files: list[Path]) -> None:
        """One to three kinds of damage to some of these files."""
        kinds = ["flip", "cut", "add", "swap", "remove", "bomb", "stray"]
        for _ in range(data.draw(st.integers(1, 3))):
            path = data.draw(st.sampled_from(files))
            kind = data.draw(st.sampled_from(kinds))
            content = bytearray(path.read_bytes() if path.exists() else b"")
            if kind == "flip" and content:
                at = data.draw(st.integers(0, len(content) - 1))
                content[at] ^= data.draw(st.integers(1, 255))
            elif kind == "cut" and content:
                del content[data.draw(st.integers(0, len(content) - 1)) :]
            elif kind == "add":
                content += data.draw(st.binary(min_size=1, max_size=4))
            elif kind == "swap":  # also with the other checkpoint's
                other = data.draw(st.sampled_from(self.files))
                if other.exists():
                    content, mine = bytearray(other.read_bytes()), bytes(content)
                    other.write_bytes(mine)
            elif kind == "bomb":
                content = bytearray(data.draw(st.sampled_from(self.bombs)))
            path.write_bytes(content)
            if kind == "remove":
                path.unlink()
            elif kind == "stray":
                (path.parent / "data.pkl").write_bytes(self.bombs[0])


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run, trained once."""
    return Run(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture
def intact(damaged: Run) -> Iterator[Run]:
    """The run before any damage."""
    damaged.restore()
    yield damaged
    damaged.restore()


@HERE
@given(data=st.data())
def test_a_damaged_checkpoint_is_whole_or_refused(intact: Run, data: st.DataObject) -> None:
    intact.restore()
    older, newer = (intact.folder / "checkpoints" / name for name in intact.checkpoints)
    intact.damage(data, [path for path in intact.files if path.parent in (older, newer)])
    chosen = newest_complete(intact.folder / "checkpoints")
    if chosen is not None:
        assert same(read_folder(chosen), intact.checkpoints[chosen.name])
    for path in (older, newer):
        for part in ("agent-0000", "agent-0001", "server"):
            try:
                found = read_folder(path, [part])
            except DAMAGED:
                assert chosen != path
            else:
                assert same(found[part], intact.checkpoints[path.name][part])
    assert not intact.mark.exists()


@HERE
@given(data=st.data())
def test_a_damaged_store_gives_a_commit_or_refuses(intact: Run, data: st.DataObject) -> None:
    intact.restore()
    intact.damage(data, list((intact.folder / "server").iterdir()))
    try:
        found = FileStore(intact.folder).load()
    except DAMAGED:
        found = None
    if found is not None:
        assert any(same(found, commit) for commit in intact.commits[-2:])
    assert not intact.mark.exists()


def test_the_bomb_is_live(intact: Run) -> None:
    for path in (intact.files[0], intact.files[-1]):
        path.write_bytes(intact.bombs[0])
        pickle.loads(path.read_bytes())
        assert intact.mark.exists()
        intact.mark.unlink()
