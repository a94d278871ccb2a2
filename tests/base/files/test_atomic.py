from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metagenrl.base.files.atomic import record_of, write_atomic
from metagenrl.base.files.errors import CorruptFile


@pytest.mark.parametrize("durable", [False, True])
def test_record_is_that_of_the_file(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "f"
    record = write_atomic(path, [b"ab", memoryview(b"c")], durable)
    assert path.read_bytes() == b"abc"
    assert record == record_of(path)
    assert record.size == 3
    # FIPS 180-2, appendix B.1: the hash of "abc".
    assert record.sha256.startswith("ba7816bf8f01cfea")


def test_a_write_that_fails_halfway_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomic(path, [b"former"])

    def chunks() -> Iterator[bytes]:
        yield b"x" * 100_000
        raise OSError("halfway")

    with pytest.raises(OSError, match="halfway"):
        write_atomic(path, chunks())
    assert path.read_bytes() == b"former"
    assert os.listdir(tmp_path) == ["f"]


def test_a_process_killed_halfway_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_atomic(path, [b"former"])
    script = """
import os, signal, sys
from pathlib import Path
from metagenrl.base.files.atomic import write_atomic
def chunks():
    yield b"x" * 100_000
    os.kill(os.getpid(), signal.SIGKILL)
write_atomic(Path(sys.argv[1]), chunks())
"""
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -9
    assert path.read_bytes() == b"former"
    write_atomic(path, [b"next"])
    assert os.listdir(tmp_path) == ["f"]


def test_records_tell_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "f"
    record = write_atomic(path, [b"abc"])
    for content, message in ((b"ab", "truncated"), (b"abcd", "wrong size"), (b"abx", "wrong hash")):
        path.write_bytes(content)
        with pytest.raises(CorruptFile, match=message):
            record.verify(path, record_of(path))
    with pytest.raises(CorruptFile, match="missing file"):
        record_of(tmp_path)
