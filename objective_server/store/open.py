"""A run's store by its address, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

from metagenrl.base.checks import UsageError
from metagenrl.objective_server.adam import CosineDecay
from metagenrl.objective_server.config import ServerConfig
from metagenrl.objective_server.server import ObjectiveServer
from metagenrl.objective_server.store.address import PASSWORD_VARIABLE, StoreAddress
from metagenrl.objective_server.store.interface import Store

logger = logging.getLogger(__name__)

BUFFERED = "kept in the run's folder until it is back, training goes on"


def open_store(address: StoreAddress, run: str, run_dir: Path, *, durable: bool = False) -> Store:
    """The store of `run`; see `FileStore` and `RedisStore`."""
    if not address.is_redis:
        from metagenrl.objective_server.store.in_folder import FileStore

        return FileStore(run_dir, durable=durable)
    from metagenrl.objective_server.store.in_redis import RedisStore
    from metagenrl.objective_server.store.redis_link import RedisLink

    return RedisStore(RedisLink(address, BUFFERED), run, run_dir, durable=durable)


def deliver_rest(address: StoreAddress, run: str, run_dir: Path) -> None:
    """At the end of `run`: what Redis missed while it was down; what fails is only logged."""
    if not address.is_redis:
        return
    from metagenrl.objective_server.store.in_redis import RedisStore

    store = open_store(address, run, run_dir)
    assert isinstance(store, RedisStore)
    try:
        store.deliver()
    except (OSError, ValueError) as error:
        logger.warning("store: not delivered: %s", error)


def check_store(
    address: StoreAddress, allow_redis_without_password: bool, resumed: bool = False
) -> None:
    """Refuse a Redis that is open to others, that does not answer or that does not let us in.

    At the start of a run its absence is a mistake. Later it may go and come back: a run that is
    `resumed` goes on without it, with what its folder has.
    """
    if not address.is_redis:
        return
    if not (address.is_loopback or address.password or allow_redis_without_password):
        raise UsageError(
            f"store: got {str(address)!r} (another machine's, without a password), allowed: a URL "
            f"with a password, or {PASSWORD_VARIABLE} set, or --allow-redis-without-password"
        )
    import redis

    from metagenrl.objective_server.store.redis_link import connect, is_away, one_line

    try:
        connect(address).ping()
    except (redis.RedisError, OSError) as error:
        if resumed and is_away(error):
            return
        raise UsageError(
            f"store: got {str(address)!r} ({one_line(error)}), allowed: a Redis that answers and "
            f"accepts the password of its URL or of {PASSWORD_VARIABLE}"
        ) from None


def open_server(
    address: StoreAddress,
    run_dir: Path,
    run: str,
    learning_rate: float | CosineDecay,
    config: ServerConfig,
) -> ObjectiveServer:
    """The server as the store has it; the driver has prepared the store."""
    store = open_store(address, run, run_dir)
    state = store.load()
    if state is None:
        raise RuntimeError(f"{run_dir}: the objective server's state is gone")
    if state["run"] != run:
        raise RuntimeError(f"{run_dir}: holds the objective of run {state['run']}, not {run}")
    return ObjectiveServer.from_state(state, learning_rate, store, config)
