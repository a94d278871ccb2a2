"""Where a local Ray has no place, and what its processes get from the driver."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from fixtures.processes import family, kill

import metagenrl
from metagenrl.base.checks import UsageError
from metagenrl.cluster.joining.connect import connect, user_paths

TINY = (
    "train --preset quickstart --hidden-units 16 --batch-size 8 --learning-starts 40 "
    "--random-steps 60 --lifetime 0 --agents 2 --steps 150 --wandb disabled --engine ray "
    "--envs Pendulum-v1"
)


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A terminal in which a Ray would be started."""
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # by an earlier test
    return monkeypatch


def refusal(folder: Path) -> str:
    os.environ["RAY_TMPDIR"] = str(folder)
    with pytest.raises(UsageError) as error:
        connect(lambda cpus: None)
    return str(error.value)


def test_a_place_that_is_too_long_full_or_a_file(local, tmp_path: Path, small_disk: Path) -> None:
    local.setenv("RAY_TMPDIR", "")  # put back with the test
    deep = tmp_path / ("a" * 60)
    assert refusal(deep).startswith(f"RAY_TMPDIR: got {str(deep)!r} (too long)")
    with tempfile.TemporaryDirectory(prefix="mg-", dir="/tmp") as short:
        file = Path(short, "f")
        file.touch()
        assert "(not a directory)" in refusal(file)
        disk = Path(short, "d")
        disk.symlink_to(small_disk)
        assert "(0 MiB free), allowed: a folder that can be written to" in refusal(disk)


def test_the_variable_that_was_set_is_named(local, small_disk: Path) -> None:
    """Of TMPDIR, which Ray takes too; the folder of one that is not there is not made."""
    local.delenv("RAY_TMPDIR", raising=False)
    with tempfile.TemporaryDirectory(prefix="mg-", dir="/tmp") as short:
        disk = Path(short, "d")
        disk.symlink_to(small_disk)
        local.setenv("TMPDIR", str(disk))
        with pytest.raises(UsageError, match=r"^TMPDIR: got '.*/d' \(0 MiB free\), allowed: a"):
            connect(lambda cpus: None)
        assert "RAY_TMPDIR" not in os.environ
        gone = Path(short, "gone")
        local.setenv("TMPDIR", str(gone))
        local.setattr(tempfile, "tempdir", None)  # where Python found one before
        local.setattr("ray.init", lambda **_: 1 / 0)
        with pytest.raises(UsageError, match=f"allowed: see {tempfile.gettempdir()}/ray/"):
            connect(lambda cpus: None)
        assert not gone.exists()
        explicit = Path(short, "explicit")
        local.setenv("RAY_TMPDIR", str(explicit))
        with pytest.raises(UsageError, match="division by zero"):
            connect(lambda cpus: None)
        assert (explicit / "ray").is_dir()


def test_one_that_does_not_start_names_the_limits_that_are_low(local) -> None:
    def start(**_: object) -> None:
        raise RuntimeError("timed out\nduring startup")

    low = {resource.RLIMIT_AS: 6 << 30, resource.RLIMIT_NPROC: 200}
    local.setattr("ray.init", start)
    local.setattr("resource.getrlimit", lambda which: (low.get(which, resource.RLIM_INFINITY), 0))
    with pytest.raises(UsageError) as error:
        connect(lambda cpus: None, "spawn")
    said = "(timed out during startup); ulimit -v is 6291456, ulimit -u is 200, allowed: see"
    assert said in str(error.value)


def test_forks_may_begin_all_at_once(local) -> None:
    """Ray would warn of a population that has several workers for each core."""
    found = {}

    def start(**options: dict[str, int]) -> None:
        found[way] = options["_system_config"].get("worker_maximum_startup_concurrency", 0)
        raise RuntimeError("enough")

    local.setattr("ray.init", start)
    for way in ("fork", "spawn"):
        with pytest.raises(UsageError):
            connect(lambda cpus: None, way)
    assert found["fork"] > 100
    assert found["spawn"] == 0, "a fork costs nothing, a start of torch does"


def test_the_users_folders_are_handed_on_and_not_the_interpreters(local, tmp_path: Path) -> None:
    local.chdir(tmp_path)
    local.setattr(sys, "path", ["", str(tmp_path / "gone"), *sys.path])
    assert user_paths()[0] == str(tmp_path)
    assert not any("site-packages" in path or path.endswith("python3.11") for path in user_paths())


def test_an_archive_of_the_users_modules_is_handed_on(local, tmp_path: Path) -> None:
    archive, text = tmp_path / "envs.zip", tmp_path / "notes.txt"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("my_env.py", "")
    text.write_text("no archive")
    local.setattr(sys, "path", [str(archive), str(text), *sys.path])
    assert str(archive) in user_paths()
    assert str(text) not in user_paths()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_a_module_beside_the_user_is_none_of_pythons_to_a_worker(way: str) -> None:
    with tempfile.TemporaryDirectory(prefix="mg-", dir="/tmp") as folder:
        for name in ("random", "types"):
            Path(folder, f"{name}.py").write_text("raise RuntimeError('the user has this name')")
        run = _start(Path(folder), f"a --worker-start {way}")
        try:
            out, _ = run.communicate(timeout=200)
        finally:
            kill(family(run.pid))
        assert run.returncode == 0, out[-3000:]
        assert "the user has this name" not in out


def _start(folder: Path, name: str, *before: str, home: str = "") -> subprocess.Popen[str]:
    environment = os.environ | {"RAY_ADDRESS": "local", "RAY_TMPDIR": str(folder)}
    # -P: as the installed command, which does not look beside the user first.
    program = [sys.executable, "-P", "-m", "metagenrl.commands.main"]
    words = [*program, *TINY.split(), "--run-dir", *name.split()]
    return subprocess.Popen(
        [*before, *words],
        env=environment | {"HOME": str(folder / home), "RAY_USAGE_STATS_ENABLED": "0"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_two_runs_at_once_on_one_machine_one_with_a_small_shared_memory() -> None:
    """A user who never used Ray begins both in the same moment; /dev/shm of one has 64 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small /dev/shm needs root")
    small = 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"'
    with tempfile.TemporaryDirectory(prefix="mg-", dir="/tmp") as folder:
        runs = [
            _start(Path(folder), "a"),
            _start(Path(folder), "b", "unshare", "--mount", "sh", "-c", small, "sh"),
        ]
        for run in runs:
            out, _ = run.communicate(timeout=300)
            assert run.returncode == 0, out[-3000:]


_NOBODY = ("--reuid=65534", "--regid=65534", "--clear-groups")
# The interpreter may be below a home that other users cannot enter: the second one sees that home
# with the interpreter alone.
_AS_NOBODY = """
case %(python)s in /root/*)
    mount --bind %(python)s /mnt; mount -t tmpfs -o mode=755 tmpfs /root
    mkdir -p %(python)s; mount --move /mnt %(python)s;;
esac
exec setpriv %(nobody)s "$@"
"""


@pytest.mark.slow
def test_two_users_at_once_on_one_machine() -> None:
    """They share the folder of Ray's sessions, as users of one /tmp do."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    may = subprocess.run(
        ["unshare", "--mount", "setpriv", *_NOBODY, "true"], capture_output=True, text=True
    )
    if may.returncode:
        pytest.skip(f"becoming another user: {may.stderr.strip()}")
    script = _AS_NOBODY % {"python": sys.base_prefix, "nobody": " ".join(_NOBODY)}
    nobody = ["unshare", "--mount", "sh", "-ec", script, "sh"]
    subprocess.run([*nobody, str(Path(sys.executable).resolve()), "-c", ""], check=True)
    files = [path for path in (sys.executable, metagenrl.__file__) if path is not None]
    if any(subprocess.run([*nobody, "test", "-r", f], check=False).returncode for f in files):
        pytest.skip("the files of this checkout cannot be read by other users")
    with tempfile.TemporaryDirectory(prefix="mg-", dir="/tmp") as folder:
        for path in (folder, f"{folder}/b"):
            Path(path).mkdir(exist_ok=True)
            os.chmod(path, 0o777)
        runs = [_start(Path(folder), "a"), _start(Path(folder), "b/run", *nobody, home="b")]
        for run in runs:
            out, _ = run.communicate(timeout=300)
            assert run.returncode == 0, out[-3000:]
        owners = [os.stat(Path(folder, name, "run.json")).st_uid for name in ("a", "b/run")]
        assert owners == [0, 65534]
