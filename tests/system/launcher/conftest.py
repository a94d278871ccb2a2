"""Hosts for `ray up`: namespaces of their own, each with an OpenSSH server and an empty home.

Processes, network, /etc/passwd and home of such a host are its own, so that nothing outside sees
its ports and `ray stop` ends nothing outside; it ends, whatever still runs, with its first process.
Python packages are those of the running tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from fixtures.processes import kill_group

ROOT = Path(__file__).resolve().parents[3]
USER = "metagenrl-test"

# First process of a host. In its mount namespace only, /etc/passwd begins with one more user, with
# the numbers of root, so that the interpreter of the tests can be read, and a home of its own.
# Ray's files lie below one path on all nodes, at which each host sees its own folder.
BOOT = """
set -e
mount --make-rprivate /
mount -t proc proc /proc
{{ echo "{user}:x:0:0::$1/home:/bin/bash"; cat /etc/passwd; }} > "$1/passwd"
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/ray" "$3"
mkdir -p /run/sshd
ip link set lo up
exec "$2" -D -e -f "$1/sshd_config" 2> "$1/sshd.log"
"""

SSHD = """
Port 22
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UsePAM no
PidFile none
Subsystem sftp internal-sftp
"""

# What a shell of the user finds besides what node_setup.sh adds. The packages are installed already
# (no index is reached from here), so that its pip only builds and installs the project itself.
BASHRC = """
export RAY_TMPDIR={ray} PIP_NO_BUILD_ISOLATION=0 PIP_NO_INDEX=1 CC=false
export RAY_worker_niceness=0 RAY_USAGE_STATS_ENABLED=0
"""

RAY = """#!{venv}/bin/python
from ray.scripts.scripts import main
main()
"""


def missing() -> str | None:
    """Why such hosts cannot be made here, None: they can."""
    if os.geteuid() != 0:
        return "hosts in namespaces need root"
    tools = ("sshd", "ssh", "ssh-keygen", "rsync", "ip", "unshare", "nsenter", "ps")
    absent = [tool for tool in tools if _which(tool) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (openssh-server, rsync, iproute2, util-linux)"
    probe = ["unshare", "--mount", "--pid", "--net", "--fork", "--mount-proc", "true"]
    done = subprocess.run(probe, capture_output=True, text=True)
    return f"namespaces: {done.stderr.strip()}" if done.returncode else None


def _which(tool: str) -> str | None:
    return shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


@dataclass
class Host:
    """One host."""

    folder: Path
    address: str
    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its first process, as numbered outside."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(children.read_text().split()[0])

    @property
    def home(self) -> Path:
        """The test user's home."""
        return self.folder / "home"

    def started(self) -> bool:
        """Whether its OpenSSH server answers."""
        try:
            return self.run(["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/22"]).returncode == 0
        except (OSError, IndexError):  # no first process yet
            return False

    def run(self, argv: Sequence[str], **options) -> subprocess.CompletedProcess[str]:
        """Run a command on the host, as its user would by ssh but without ssh."""
        enter = ["nsenter", "-t", str(self.pid), "--mount", "--pid", "--net"]
        folder = ["env", "-C", str(options.pop("cwd", "/"))]  # nsenter goes to the root
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        environment |= options.pop("env", {})
        return subprocess.run(
            [*enter, *folder, *argv], env=environment, capture_output=True, text=True, **options
        )


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder with a short name: sockets of Ray lie below it, whose paths may not be long."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="mg-", dir="/tmp"))
    (folder / "ray").mkdir()
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make_host(base: Path) -> Iterator[Callable[[str, str], Host]]:
    """Makes a host by name and address; all of them end with the test."""
    hosts: list[Host] = []

    def make(name: str, address: str) -> Host:
        folder = base / name
        _share_packages(_home(folder, base / "ray"))
        key = folder / "host_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        shutil.copy(base / "key.pub", folder / "authorized_keys")
        (folder / "sshd_config").write_text(SSHD.format(folder=folder))
        unshare = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
        arguments = map(str, (folder, _which("sshd"), base / "ray"))
        boot = ["bash", "-c", BOOT.format(user=USER), "boot", *arguments]
        host = Host(folder, address, subprocess.Popen([*unshare, *boot], start_new_session=True))
        hosts.append(host)
        _wait_for_ssh(host)
        return host

    yield make
    for host in hosts:
        kill_group(host.process.pid)
        host.process.wait()


def _home(folder: Path, ray: Path) -> Path:
    """The user's home in the folder; where node_setup.sh will look for an environment."""
    home = folder / "home"
    home.mkdir(parents=True)
    (folder / "ray").mkdir()
    (home / ".bashrc").write_text(BASHRC.format(ray=ray))
    return home / ".metagenrl" / "venv"


def _share_packages(venv: Path) -> None:
    """An environment that sees the packages of this one, and is the one that Ray runs in."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    shared = next(Path(p) for p in sys.path if (Path(p) / "ray").is_dir())
    (site / "shared.pth").write_text(f"{shared}\n")
    ray = venv / "bin" / "ray"
    ray.write_text(RAY.format(venv=venv))
    ray.chmod(0o755)


def _wait_for_ssh(host: Host) -> None:
    deadline = time.monotonic() + 120
    while not host.started():
        assert time.monotonic() < deadline, (host.folder / "sshd.log").read_text()
        time.sleep(0.1)


@dataclass
class Launcher:
    """`ray` on a user's machine, which here is the head's network with another home."""

    head: Host
    folder: Path
    config: Path

    def ray(self, *words: str, timeout: float = 900.0, **environment: str) -> str:
        """Run `ray WORDS`; what it printed. Raises `AssertionError` with that where it fails."""
        home = self.folder / "client"
        env = {"HOME": str(home), "RAY_TMPDIR": str(home), "RAY_USAGE_STATS_ENABLED": "0"}
        env |= {"TMPDIR": str(home), "RAY_AUTH_MODE": "token"} | environment
        argv = [sys.executable, "-m", "ray.scripts.scripts", *words]
        done = self.head.run(argv, env=env, cwd=ROOT, timeout=timeout, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr


@pytest.fixture
def make_launcher(base: Path) -> Callable[[Host, list[Host]], Launcher]:
    """Makes a user's machine: a home with a token, and the shipped configuration, edited."""

    def make(head: Host, workers: list[Host]) -> Launcher:
        shipped = yaml.safe_load((ROOT / "cluster" / "config.yaml").read_text())
        shipped["provider"]["head_ip"] = head.address
        shipped["provider"]["worker_ips"] = [worker.address for worker in workers]
        shipped["auth"] = {"ssh_user": USER, "ssh_private_key": str(base / "key")}
        config = base / "config.yaml"
        config.write_text(yaml.safe_dump(shipped))
        (base / "client").mkdir()
        launcher = Launcher(head, base, config)
        launcher.ray("get-auth-token", "--generate")
        return launcher

    return make
