"""One process goes on with a run, also with its copy; a copy is told apart from what it is of."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray

from metagenrl.base.checks import UsageError
from metagenrl.base.files.folder_lock import LOCK_FILE, FolderLock, Holder
from metagenrl.cluster.control import by_redis as by_redis_module
from metagenrl.cluster.control import claim as claim_module
from metagenrl.cluster.control.by_ray import RayMailbox
from metagenrl.cluster.control.by_redis import RedisMailbox
from metagenrl.cluster.control.claim import Driver
from metagenrl.cluster.control.desk import PopulationStatus
from metagenrl.cluster.view.status import RunStatus
from metagenrl.commands.main import main
from metagenrl.objective_server.store.address import StoreAddress
from metagenrl.runs.config.train import TrainConfig
from metagenrl.runs.folder import open_run

STATUS = PopulationStatus("running", 3, 2, 1.5, RunStatus("r", 7, 5, 1.0, 10, 20, None, []))
Mailbox = RayMailbox | RedisMailbox


def driver(folder: Path | str, **changed: object) -> Driver:
    """This process, which works in `folder`."""
    return Driver(str(folder), dataclasses.replace(Holder.this_process(), **changed))


@pytest.fixture(scope="module")
def on_ray() -> Iterator[None]:
    ray.init(
        address="local", namespace="metagenrl", num_cpus=1, include_dashboard=False,
        log_to_driver=False, logging_level="ERROR",
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture(params=["redis", pytest.param("ray", marks=pytest.mark.slow)])
def mailbox(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Driver], Mailbox]:
    """A driver's end of the way to the run of this test."""
    run = tmp_path.name
    if request.param == "ray":
        request.getfixturevalue("on_ray")
        return lambda one: RayMailbox(run, one)
    address = StoreAddress.parse(request.getfixturevalue("redis_server").url)
    return lambda one: RedisMailbox(address, run, one)


def test_a_second_one_is_refused_until_the_first_has_ended(mailbox, tmp_path: Path) -> None:
    first, second = mailbox(driver(tmp_path / "a")), mailbox(driver(tmp_path / "b"))
    first.claim()
    first.claim()  # its own
    first.exchange(STATUS.to_json(), [])
    refused = (
        rf"^resume: got '{tmp_path}/b' \(its run, {tmp_path.name}, goes on in {tmp_path}/a "
        rf"\(process {os.getpid()} on .*\)\), allowed: .* metagenrl stop {tmp_path}/a$"
    )
    with pytest.raises(UsageError, match=refused):
        second.claim()
    with pytest.raises(OSError, match=r"goes on in .*as well"):
        second.exchange(STATUS.to_json(), [])
    first.exchange(STATUS.to_json(), [])
    first.close()
    mailbox(driver(tmp_path / "b")).claim()


def test_one_that_crashed_is_in_nobodys_way(mailbox, tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    crashed = mailbox(driver(tmp_path / "a", pid=ended.pid))
    crashed.claim()
    mailbox(driver(tmp_path / "b", boot="before")).claim()  # and then the machine was restarted
    began = time.monotonic()
    mailbox(driver(tmp_path / "b")).claim()
    assert time.monotonic() - began < 20.0


def test_who_holds_the_folder_goes_on(mailbox, tmp_path: Path) -> None:
    """Within one program: its last run could not say that it had ended, as Redis was away."""
    mailbox(driver(tmp_path)).claim()
    mailbox(driver(tmp_path)).claim()


def test_one_on_another_machine_is_refused_by_its_signs_of_life(mailbox, tmp_path: Path) -> None:
    far = mailbox(driver(tmp_path / "a", host="far"))
    far.claim()
    rivals = iter(range(100))

    def look() -> claim_module.Rival | None:
        if next(rivals):
            far.exchange(STATUS.to_json(), [])
        if isinstance(near, RayMailbox):
            return near._rival()
        return near._link.call(near._rival)

    near, one = mailbox(driver(tmp_path / "b")), driver(tmp_path / "b")
    with pytest.raises(UsageError, match=rf"goes on in {tmp_path}/a \(process \d+ on far "):
        claim_module.claim("r", one, look)
    assert next(rivals) == 2


def test_a_silent_one_on_another_machine_is_waited_for(
    redis_server, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(by_redis_module, "SILENCE_SECONDS", 2.0)
    address = StoreAddress.parse(redis_server.url)
    RedisMailbox(address, "r", driver(tmp_path / "a", host="far")).claim()
    RedisMailbox(address, "r", driver(tmp_path / "b")).claim()
    assert capsys.readouterr().out.startswith(f"run r went on in {tmp_path}/a (process ")


def test_without_redis_the_run_goes_on(redis_server, tmp_path: Path) -> None:
    mailbox = RedisMailbox(StoreAddress.parse(redis_server.url), "r", driver(tmp_path))
    redis_server.kill()
    mailbox.claim()


@pytest.fixture
def reached(redis_server, tmp_path: Path) -> Callable[..., Path]:
    """The folder of a run that goes on in this process, as a status says."""
    folder = tmp_path / "a"
    store = StoreAddress.parse(redis_server.url)
    run = open_run(TrainConfig(run_dir=folder, engine="inprocess", store=store)).id
    lock = FolderLock(folder)
    lock.acquire()
    try:
        own = Driver(str(folder), lock.holder)
        mailbox = RedisMailbox(store, run, own)
        mailbox.exchange(dataclasses.replace(STATUS, driver=own).to_json(), [])
        yield folder
    finally:
        lock.release()


def said_of(folder: Path, capsys) -> tuple[int, str]:
    try:
        main(["status", str(folder)])
        code = 0
    except SystemExit as error:
        code = int(error.code or 0)
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_a_copy_is_not_what_answers(reached: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    """Not even with the original's lock in it; other names of the folder are the folder."""
    assert said_of(reached, capsys)[0] == 0
    (tmp_path / "link").symlink_to(reached)
    assert said_of(tmp_path / "link", capsys)[0] == 0
    copy = Path(shutil.copytree(reached, tmp_path / "b"))
    assert (copy / LOCK_FILE).exists()
    code, said = said_of(copy, capsys)
    assert code == 1
    assert f"{copy}: not going on (its run, " in said
    assert f", goes on in {reached} (process {os.getpid()} on " in said
    assert "--resume" not in said
    lock = FolderLock(copy)
    lock.acquire()
    assert lock.former is None, "it is not gone"
    lock.release()
    shutil.copy(reached / LOCK_FILE, copy)
    monkeypatch.setattr(Holder, "here", property(lambda self: False))  # asked from far away
    assert said_of(reached, capsys)[0] == 0
    (copy / LOCK_FILE).unlink()
    assert said_of(copy, capsys)[0] == 1


def test_a_run_that_does_not_answer_is_there_while_its_folder_is_held(
    redis_server, tmp_path: Path, capsys
) -> None:
    """It starts, or its mailbox was lost: it cannot be resumed."""
    folder = tmp_path / "run"
    lock = FolderLock(folder)
    folder.mkdir()
    lock.acquire()
    there = f"process {os.getpid()} on {os.uname().nodename} since "
    try:
        code, said = said_of(folder, capsys)  # before its configuration is written
        assert code == 1
        assert said.startswith(f"{folder}: does not answer just now (it begins); {there}")
        for engine in ("ray", "inprocess"):
            store = StoreAddress.parse("file" if engine == "ray" else redis_server.url)
            open_run(TrainConfig(run_dir=folder, engine=engine, store=store))
            code, said = said_of(folder, capsys)
            assert code == 1
            assert said.startswith(f"{folder}: does not answer just now (nothing answers); {there}")
            assert said.endswith("holds the folder, ask again\n")
    finally:
        lock.release()
    assert said_of(folder, capsys) == (
        1,
        f"{folder}: not going on (nothing answers); to go on with it: metagenrl train --resume "
        f"{folder}\n",
    )
