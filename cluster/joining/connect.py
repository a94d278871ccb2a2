"""Joining a running Ray, or starting one on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import secrets
import shutil
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import ray

from metagenrl.base.checks import UsageError
from metagenrl.base.process import available_cores
from metagenrl.cluster.joining.address import address_to_join
from metagenrl.cluster.joining.hidden import refuse_hidden_packages
from metagenrl.cluster.joining.own_ray import (
    groups_of_their_own,
    is_own,
    remember,
    without_dashboard_and_autoscaler,
)
from metagenrl.cluster.joining.token import ensure_token, without_its_notice
from metagenrl.cluster.workers.start import forked_workers
from metagenrl.runs.config.train import WorkerStart

_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_LONGEST_SOCKET = 107  # bytes of a Unix socket's path
_SOCKET_BELOW = "/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
_LEAST_FREE = 100 << 20  # bytes for a session's logs and sockets
_FORKS_AT_ONCE = 256
_LIMITS = (
    ("v", resource.RLIMIT_AS, 1024, 1 << 40),
    ("u", resource.RLIMIT_NPROC, 1, 1024),
    ("n", resource.RLIMIT_NOFILE, 1, 1024),
)
"""The shell's name, the limit, the shell's unit, and how much a Ray never lacks."""

logger = logging.getLogger(__name__)


def connect(check: Callable[[float], object], worker_start: WorkerStart = "fork") -> float:
    """Join the Ray that `address_to_join` finds, or start a local one; the CPUs that there are.

    `check` is asked before a local Ray is started, with the CPUs that it would have; what it
    raises is raised. `worker_start` is how a local Ray's workers begin. Raises `UsageError` where
    no Ray can be joined or started.
    """
    if not ray.is_initialized():
        refuse_hidden_packages(user_paths())
        address = address_to_join()
        where: dict[str, Any] = {"address": address}
        own = contextlib.ExitStack()
        if address is None:
            check(available_cores())
            where = _local(worker_start)
            own.enter_context(without_its_notice())
            own.enter_context(groups_of_their_own())
            own.enter_context(without_dashboard_and_autoscaler())
            if worker_start == "fork" and _JOB not in os.environ:
                own.enter_context(forked_workers(_temporary() / "ray", _own_variables()))
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        # Ray runs its workers at niceness 15: next to anything else they would hardly run at all.
        os.environ.setdefault("RAY_worker_niceness", "0")
        try:
            with own:
                ray.init(
                    log_to_driver=True,
                    logging_level=logging.WARNING,
                    runtime_env=_handed_on(),
                    **where,
                )
        except Exception as error:
            said = " ".join(str(error).split()) or repr(error)
            what = "could not be started" if address is None else f"at {address} was not joined"
            raise UsageError(
                f"ray: a Ray {what} ({said}){_low_limits()}, allowed: see {_session()}"
            ) from error
        if address is None:
            remember(ray.get_runtime_context().gcs_address)
    return float(ray.cluster_resources().get("CPU", 0.0))


def _low_limits() -> str:
    """Limits of this process that Ray's own inherit, and that may be why it does not start."""
    low = []
    for flag, which, unit, enough in _LIMITS:
        limit = resource.getrlimit(which)[0]
        if limit != resource.RLIM_INFINITY and limit < enough:
            low.append(f"ulimit -{flag} is {limit // unit}")
    return f"; {', '.join(low)}" if low else ""


def address_for_actors() -> str:
    """Where this process listens to its actors: nobody else can where the Ray is its own."""
    own = is_own(ray.get_runtime_context().gcs_address)
    return "127.0.0.1" if own else str(ray.util.get_node_ip_address())


def _local(worker_start: WorkerStart) -> dict[str, Any]:
    """How a local Ray is started. Raises `UsageError` where its files have no place."""
    variable = _variable()
    folder = _temporary()
    allowed = "a folder that can be written to, with a short name and 100 MiB free"
    if len(os.fsencode(f"{folder}{_SOCKET_BELOW}")) > _LONGEST_SOCKET:
        raise UsageError(f"{variable}: got {str(folder)!r} (too long), allowed: {allowed}")
    try:
        (folder / "ray").mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        probe = folder / "ray" / f".probe-{secrets.token_hex(8)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(
            f"{variable}: got {str(folder)!r} ({reason}), allowed: {allowed}"
        ) from error
    if free < _LEAST_FREE:
        reason = f"{free >> 20} MiB free"
        raise UsageError(f"{variable}: got {str(folder)!r} ({reason}), allowed: {allowed}")
    ensure_token()
    local: dict[str, Any] = {"address": "local", "include_dashboard": False}
    # Workers that Ray starts ahead have no runtime environment, and no actor of ours goes there.
    local["_system_config"] = {"prestart_worker_first_driver": False}
    if worker_start == "fork":  # Ray bounds, and warns of, interpreters that start at one time
        local["_system_config"]["worker_maximum_startup_concurrency"] = _FORKS_AT_ONCE
    return local | {"num_cpus": available_cores()}


def _variable() -> str:
    """The variable that says where Ray's files go, or that could.

    Ray would make the folder that TMPDIR names; one that is not there is passed over, as Python
    does, whose other temporary files are then together with Ray's.
    """
    if "RAY_TMPDIR" in os.environ or "TMPDIR" not in os.environ:
        return "RAY_TMPDIR"
    if os.path.isdir(os.environ["TMPDIR"]):
        return "TMPDIR"
    os.environ["RAY_TMPDIR"] = tempfile.gettempdir()
    return "RAY_TMPDIR"


def _temporary() -> Path:
    """Where a local Ray has the folder `ray` of its sessions."""
    return Path(_session()).parent.parent.parent


def _session() -> str:
    """The folder of the logs of the Ray that this process starts."""
    from ray._common.utils import get_default_ray_temp_dir  # there is no public way to ask

    return f"{get_default_ray_temp_dir()}/session_latest/logs"


def _handed_on() -> dict[str, Any] | None:
    """The environment of the processes on all nodes: where the user's modules are found.

    A job that was submitted has an environment of its own, which Ray hands on.
    """
    if _JOB in os.environ:
        return None
    return {"env_vars": _own_variables()}


def _own_variables() -> dict[str, str]:
    """What `PYTHONPATH` names comes before Python's own folders, so they come first in it.

    Otherwise a module `random` beside the user would be Python's. A node has these folders in
    another place, or has the same ones: Ray wants one version of Python everywhere.
    """
    python = [sysconfig.get_path("stdlib"), str(sysconfig.get_config_var("DESTSHARED"))]
    return {"PYTHONPATH": os.pathsep.join([*python, *user_paths()])}


def user_paths() -> list[str]:
    """Folders and archives that this process imports the user's own modules from, absolute.

    The working directory counts, as it does for `python`; the interpreter's folders do not: a
    node's own are in another place, or hold other versions.
    """
    places = ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
    system = {Path(path) for name, path in sysconfig.get_paths().items() if name in places}
    paths = [Path(path or os.getcwd()).absolute() for path in (*sys.path, os.getcwd())]
    own = (path for path in paths if _importable(path) and not _installed(path, system))
    return list(dict.fromkeys(map(str, own)))


def _importable(path: Path) -> bool:
    """Whether Python looks for modules there: in a folder, or in a zip archive."""
    return path.is_dir() or (path.is_file() and zipfile.is_zipfile(path))


def _installed(path: Path, system: Set[Path]) -> bool:
    """Whether a folder of sys.path belongs to the interpreter or its packages."""
    packages = {"site-packages", "dist-packages"} & set(path.parts)
    return bool(packages) or any(path == own or own in path.parents for own in system)
