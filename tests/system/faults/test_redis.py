"""A run whose Redis is gone just when the run begins again."""

from __future__ import annotations

from metagenrl.base.files.state_file import unpack
from metagenrl.objective_server.store.address import StoreAddress
from metagenrl.runs.metrics_file import read_metrics


def versions(run) -> list[int]:
    return [row.version for row in read_metrics(run.folder).objective]


def in_redis(server) -> int:
    """The version of alpha that it has."""
    (name,) = server.client().keys("metagenrl:*:state")
    content = unpack(server.client().hget(name, "file"), "redis")
    return int(content["state"]["version"])


def test_a_run_is_resumed_without_its_redis_and_goes_on_with_it_later(run, redis_server) -> None:
    run.start("--agents", "2", "--steps", "300", "--store", redis_server.url)
    run.wait_until(run.checkpoints)
    run.process.kill()
    run.process.wait()
    redis_server.kill()
    out = run.resume().finish()
    endpoint = StoreAddress.parse(redis_server.url).endpoint
    assert f"redis {endpoint}: " in out
    assert "kept in the run's folder until it is back, training goes on" in out
    assert versions(run) == list(range(1, versions(run)[-1] + 1))

    redis_server.start()
    assert in_redis(redis_server) < versions(run)[-1]
    run.resume("--steps", "340").finish()
    assert in_redis(redis_server) == versions(run)[-1]

    wrong = redis_server.url.replace("//", "//:wrong@")
    out = run.resume("--steps", "360", "--store", wrong).finish(code=2)
    assert "error: store: got" in out
    assert "wrong@" not in out
