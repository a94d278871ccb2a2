"""Snapshots of the learned objective: one file each, that stands on its own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metagenrl.base.checks import require
from metagenrl.base.files.atomic import read_bytes, write_atomic
from metagenrl.base.files.errors import CorruptFile, FutureFormat, NewerRelease
from metagenrl.base.files.state_codec import canonical
from metagenrl.base.files.tensors import parse_tensors, tensor_chunks
from metagenrl.base.release import RELEASE, is_newer
from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.objective_server.snapshots.errors import WrongArchitecture

FORMAT = 1
LARGEST_FILE = 1 << 30
"""Bytes; a thousand times those of any objective here. More is not read into memory."""
# Keys of the safetensors header's metadata. Readers of release 0.1 refuse a fact that they do not
# know, hence a second key.
_METADATA = "metagenrl_objective"
_RELEASE = "metagenrl_release"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, eq=False)
class ObjectiveSnapshot:
    """The objective at one version, with what is needed to use it and to tell its history.

    The arrays of two snapshots are equal, bit for bit, where their `checksum` is.
    """

    alpha: NDArray[np.float32]  # [P_alpha], read-only
    version: int
    config: dict[str, Any]  # fields of `ObjectiveConfig`, as written: see `complete_config`
    environments: tuple[str, ...]  # those it was meta-trained in
    steps: int  # environment steps of the whole population so far
    run: str
    created: str = field(default_factory=_now)  # ISO 8601, UTC
    release: str = RELEASE  # that wrote the file, "" before 0.2; no part of the checksum

    def __post_init__(self) -> None:
        alpha = np.array(self.alpha, dtype=np.float32)
        require(alpha.ndim == 1 and alpha.size > 0, "alpha", alpha.shape, "one flat vector")
        require(bool(np.isfinite(alpha).all()), "alpha", "NaN or Inf", "finite values")
        require(self.version >= 0, "version", self.version, "a number >= 0")
        alpha.setflags(write=False)
        object.__setattr__(self, "alpha", alpha)

    @property
    def checksum(self) -> str:
        """The sha256 of alpha and of everything said about it."""
        digest = hashlib.sha256(self.alpha.tobytes())
        digest.update(canonical(self._facts()).encode())
        return digest.hexdigest()

    def _facts(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "config": self.config,
            "environments": list(self.environments),
            "steps": self.steps,
            "run": self.run,
            "lineage": [],  # no run goes on from another's objective; release 0.1 asks for it
            "created": self.created,
            "parameters": self.alpha.size,
        }

    def describe(self) -> dict[str, Any]:
        """Everything but alpha, as JSON: for the sidecar and for `objective show`."""
        return {"format": FORMAT, "checksum": self.checksum, **self._facts()}

    @property
    def complete_config(self) -> dict[str, Any]:
        """`config` with the fields that came after the file: their defaults are what was then."""
        return {**dataclasses.asdict(ObjectiveConfig()), **self.config}

    def require_known(self, path: Path | str = "objective") -> None:
        """Raise `NewerRelease` where a later release wrote a field that this one does not know.

        An evolved loss (`kind`) has another configuration, which its agent judges.
        """
        known = {each.name for each in dataclasses.fields(ObjectiveConfig)}
        names = [] if "kind" in self.config else sorted(self.config.keys() - known)
        _refuse_newer(path, names, self.release)

    def expect(self, config: ObjectiveConfig, parameters: int) -> None:
        """Raise `WrongArchitecture`, showing both sides, unless this is such an objective."""
        wanted, found = dataclasses.asdict(config), self.complete_config
        names = sorted(wanted.keys() | found.keys())
        differ = [n for n in names if found.get(n, "-") != wanted.get(n, "-")]
        if differ or self.alpha.size != parameters:
            raise WrongArchitecture(
                _show(found, differ, self.alpha.size), _show(wanted, differ, parameters)
            )

    def to_bytes(self) -> bytes:
        """The content of the safetensors file."""
        metadata = {_METADATA: canonical(self.describe()), _RELEASE: self.release}
        return b"".join(tensor_chunks({"alpha": self.alpha}, metadata))

    @classmethod
    def from_bytes(cls, data: bytes, path: Path | str = "objective") -> ObjectiveSnapshot:
        """Undo `to_bytes`; `path` is for messages.

        Raises `CorruptFile`, `FutureFormat` and `NewerRelease`.
        """
        path = Path(path)
        arrays, metadata = parse_tensors(data, path)
        release = metadata.get(_RELEASE, "")
        try:
            facts = json.loads(metadata[_METADATA])
            version, recorded = int(facts.pop("format")), str(facts.pop("checksum"))
            if version > FORMAT:
                raise FutureFormat(path, version, FORMAT)
            facts["environments"] = tuple(facts["environments"])
            del facts["parameters"], facts["lineage"]
            fields = {each.name for each in dataclasses.fields(cls)}
            _refuse_newer(path, sorted(facts.keys() - fields), release)
            snapshot = cls(alpha=arrays["alpha"], **facts, release=release)
            snapshot.require_known(path)
        except (FutureFormat, NewerRelease):
            raise
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise CorruptFile(path, f"not an objective snapshot: {error}") from None
        if arrays["alpha"].dtype != np.float32 or snapshot.checksum != recorded:
            raise CorruptFile(path, "wrong hash", recorded, snapshot.checksum)
        return snapshot

    def save(self, path: Path, *, durable: bool = False) -> None:
        """Write `path` (a `.safetensors` file) and, for people, a `.json` beside it.

        Both appear complete or not at all. Raises `OSError` where the disk is full.
        """
        require(path.suffix == ".safetensors", "snapshot file", path.name, "a .safetensors file")
        sidecar = json.dumps(self.describe(), indent=2) + "\n"
        write_atomic(path.with_suffix(".json"), [sidecar.encode()], durable)
        write_atomic(path, [self.to_bytes()], durable)

    @classmethod
    def load(cls, path: Path) -> ObjectiveSnapshot:
        """Read a snapshot from its `.safetensors` file alone; nothing in it can run code.

        Raises `CorruptFile` (missing, truncated, changed, another kind of file), `FutureFormat`
        or `NewerRelease`.
        """
        if path.is_file() and path.stat().st_size > LARGEST_FILE:
            raise CorruptFile(path, f"no objective is larger than {LARGEST_FILE:,} bytes")
        return cls.from_bytes(read_bytes(path), path)


def _refuse_newer(path: Path | str, names: list[str], release: str) -> None:
    if names and is_newer(release):
        raise NewerRelease(path, names[0], release)


def _show(config: Mapping[str, Any], fields: list[str], parameters: int) -> str:
    shown = "".join(f"{name}={config.get(name, '-')!r}, " for name in fields)
    return f"{shown}{parameters} parameters"
