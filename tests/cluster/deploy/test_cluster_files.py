"""The cluster configurations that are shipped: Ray takes them, and they keep their promises."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from metagenrl.cluster.deploy import head_redis

FOLDER = Path(__file__).resolve().parents[3] / "cluster"
LAUNCHER = ("config.yaml", "deploy/aws.yaml", "deploy/gcp.yaml")


def load(name: str) -> dict:
    return yaml.safe_load((FOLDER / name).read_text())


@pytest.mark.parametrize("name", LAUNCHER)
def test_ray_takes_it(name: str) -> None:
    prepared = prepare_config(copy.deepcopy(load(name)))
    validate_config(prepared)
    assert "head_redis start" in " ".join(prepared["head_start_ray_commands"])


@pytest.mark.parametrize("name", LAUNCHER)
def test_nodes_get_the_whole_project_and_the_token(name: str) -> None:
    mounts = load(name)["file_mounts"]
    for target, source in mounts.items():
        assert source == "~/.ray/auth_token" or (FOLDER.parent / source).exists()
        assert target == "~/.ray/auth_token" or target == f"~/metagenrl/{source}"
    assert {"learner", "agents", "objective_server", "cluster", "metagenrl"} < set(mounts.values())
    assert {"pyproject.toml", "setup.py", "constraints.txt"} < set(mounts.values())
    assert mounts["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "RAY_AUTH_MODE=token" in (FOLDER / "deploy" / "node_setup.sh").read_text()


@pytest.mark.parametrize("name", LAUNCHER[1:])
def test_the_clouds_do_what_own_hosts_do(name: str) -> None:
    mine, theirs = load("config.yaml"), load(name)
    for key in ("file_mounts", "setup_commands", "rsync_exclude"):
        assert theirs[key] == mine[key]
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert theirs[key] == mine[key]


def test_the_head_uses_the_redis_that_was_started() -> None:
    start = load("config.yaml")["head_start_ray_commands"][-1]
    assert f"RAY_REDIS_ADDRESS=127.0.0.1:{head_redis.PORT} " in start
    assert '--redis-password="$(cat ~/.metagenrl/redis/password)"' in start


def test_kubernetes() -> None:
    text = (FOLDER / "deploy" / "kuberay.yaml").read_text()
    parts = {part["kind"]: part for part in yaml.safe_load_all(text)}
    cluster = parts["RayJob"]["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    redis = cluster["gcsFaultToleranceOptions"]
    service = parts["Service"]
    port = service["spec"]["ports"][0]["port"]
    assert redis["redisAddress"] == f"{service['metadata']['name']}:{port}"
    secret = redis["redisPassword"]["valueFrom"]
    (container,) = parts["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "REDIS_PASSWORD", "valueFrom": secret}]
    # What is acknowledged is on the disk, as with the Redis of every test that kills one.
    assert r"appendonly yes\nappendfsync always\n" in container["args"][0]
    assert "Secret" not in parts, "a password must not lie in a file of the repository"
    ray = re.search(r"^ray==(.+)$", (FOLDER.parent / "constraints.txt").read_text(), re.M)
    assert ray is not None
    assert cluster["rayVersion"] == ray[1]
    assert f"rayproject/ray:{ray[1]}-" in (FOLDER / "deploy" / "Dockerfile").read_text()
