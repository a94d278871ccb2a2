"""Finding the way to a running population."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from metagenrl.base.checks import UsageError
from metagenrl.base.files.atomic import write_atomic
from metagenrl.base.files.errors import CorruptFile
from metagenrl.base.files.folder_lock import is_held
from metagenrl.base.files.json_file import read_object
from metagenrl.cluster.control.claim import Driver, require_same
from metagenrl.cluster.control.desk import Answer, Mailbox, PopulationStatus, Remote, Request
from metagenrl.cluster.joining.address import is_host_and_port
from metagenrl.cluster.joining.probe import AUTHENTICATION
from metagenrl.objective_server.store.address import StoreAddress
from metagenrl.objective_server.store.open import check_store
from metagenrl.runs.config.reference import RunReference
from metagenrl.runs.config.stored import stored_config
from metagenrl.runs.config.train import EngineName, TrainConfig
from metagenrl.runs.config.yaml import build
from metagenrl.runs.kinds import require_meta_training
from metagenrl.runs.machine.identity import identity_of
from metagenrl.runs.names import CONFIG_FILE, CONTROL_FILE

if TYPE_CHECKING:  # Redis and Ray: only where a run is reached through them
    from metagenrl.cluster.control.by_ray import RayMailbox
    from metagenrl.cluster.control.by_redis import RedisMailbox


@dataclass(frozen=True)
class Whereabouts:
    """Where a run's Ray cluster is: `control.json`, written each time the run is started."""

    ray_address: str
    ray_auth_mode: str | None


def open_mailbox(
    store: StoreAddress, engine: EngineName, run: str, driver: Driver, resumed: bool
) -> Mailbox | None:
    """The driver's end; None for a run in one process without Redis, which nobody can reach.

    Raises `UsageError` where a run that is `resumed` goes on in another process.
    """
    mailbox: RedisMailbox | RayMailbox
    if store.is_redis:
        from metagenrl.cluster.control.by_redis import RedisMailbox

        mailbox = RedisMailbox(store, run, driver)
    elif engine == "ray":
        from metagenrl.cluster.control.by_ray import RayMailbox

        mailbox = RayMailbox(run, driver)
    else:
        return None
    if resumed:
        mailbox.claim()
    return mailbox


def note_whereabouts(run_dir: Path, store: StoreAddress, engine: EngineName) -> None:
    """Write `control.json` for a run that is reached through Ray; any other has none."""
    (run_dir / CONTROL_FILE).unlink(missing_ok=True)
    if store.is_redis or engine == "inprocess":
        return
    from metagenrl.cluster.control.by_ray import cluster_address

    where = Whereabouts(cluster_address(), os.environ.get(AUTHENTICATION))
    write_atomic(run_dir / CONTROL_FILE, [json.dumps(asdict(where)).encode()])


def reach(reference: RunReference) -> Remote:
    """The other end.

    Raises `UsageError` where the reference names no run or no way to it, and `ConnectionError`
    where nothing answers there. Of a folder, the status raises `GoesOnElsewhere` where what answers
    works in another one.
    """
    folder = Path(reference.run)
    if not (folder / CONFIG_FILE).is_file():
        if is_held(folder):
            raise ConnectionError("it begins")
        return _reach(reference, folder, None, reference.run)
    config, run = _config(folder), identity_of("run", folder).id
    return OfFolder(_reach(reference, folder, config, run), run, folder)


class OfFolder:
    """The `Remote` of a run whose folder is here: a copy of that folder is another one."""

    def __init__(self, remote: Remote, run: str, folder: Path) -> None:
        self._remote, self._run, self._folder = remote, run, folder

    def status(self) -> PopulationStatus | None:
        status = self._remote.status()
        if status is not None:
            require_same(self._run, status.driver, self._folder)
        return status

    def ask(self, request: Request, timeout: float) -> Answer | None:
        return self._remote.ask(request, timeout)


def _reach(reference: RunReference, folder: Path, config: TrainConfig | None, run: str) -> Remote:
    """The same; `config` is that of a folder."""
    store = reference.store
    if not store.is_redis and config is not None and reference.ray_address is None:
        store = config.store
    if store.is_redis:
        return _by_redis(store, run)
    if config is not None and config.engine == "inprocess" and reference.ray_address is None:
        raise UsageError(
            f"run: got {reference.run!r} (--engine inprocess and no Redis: it cannot be reached), "
            "allowed: a run on Ray, or one with --store redis://…"
        )
    return _by_ray(reference, folder, run)


def _config(folder: Path) -> TrainConfig:
    require_meta_training("run", folder)
    return stored_config(TrainConfig, folder / CONFIG_FILE, "run")


def _whereabouts(path: Path) -> Whereabouts:
    """The run's own note. Raises `UsageError` where it cannot be read."""
    try:
        values = read_object(path)
        known = [one.name for one in fields(Whereabouts)]
        return build(Whereabouts, {name: values[name] for name in known if name in values})
    except ValueError as error:
        detail = error.reason if isinstance(error, CorruptFile) else str(error)
        raise UsageError(
            f"run: got {str(path.parent)!r} ({path.name} damaged: {detail}), allowed: a complete "
            "folder of a run, or its --ray-address"
        ) from error


def _by_redis(address: StoreAddress, run: str) -> Remote:
    from metagenrl.cluster.control.by_redis import RedisRemote

    check_store(address, allow_redis_without_password=True)
    return RedisRemote(run, address)


def _named_address() -> str | None:
    """What RAY_ADDRESS names; None where that is no address, as `local` and `auto` are not."""
    named = os.environ.get("RAY_ADDRESS", "").strip()
    return None if named in ("", "local", "auto") else named


def _by_ray(reference: RunReference, folder: Path, run: str) -> Remote:
    address, path = reference.ray_address, folder / CONTROL_FILE
    if address is None and path.is_file():
        where = _whereabouts(path)
        address = where.ray_address
        if where.ray_auth_mode is not None:
            # Ray reads it when it is imported, and takes the token from the user's home.
            os.environ.setdefault(AUTHENTICATION, where.ray_auth_mode)
    address = address or _named_address()
    if address is None and (folder / CONFIG_FILE).is_file():
        if is_held(folder):
            raise ConnectionError("nothing answers")
        raise ConnectionError("it was never started, or with another version of this program")
    if address is None:
        raise UsageError(
            f"run: got {reference.run!r} (no folder of a run), allowed: such a folder, or a run's "
            "id with --ray-address or --store"
        )
    if not is_host_and_port(address):
        given = "RAY_ADDRESS" if reference.ray_address is None else "ray_address"
        raise UsageError(f"{given}: got {address!r}, allowed: HOST:PORT")
    from metagenrl.cluster.control.by_ray import RayRemote

    return RayRemote(run, address)
