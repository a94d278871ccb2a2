from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from metagenrl.base.files.errors import CorruptFile, FutureFormat, NewerRelease
from metagenrl.base.release import RELEASE
from metagenrl.learner.hyperparams import ObjectiveConfig
from metagenrl.objective_server.snapshots.errors import WrongArchitecture
from metagenrl.objective_server.snapshots.snapshot import ObjectiveSnapshot


def snapshot(**fields: object) -> ObjectiveSnapshot:
    values = {
        "alpha": np.array([0.1, -2.5e-30, 3e7, -0.0], np.float32),
        "version": 12,
        "config": dataclasses.asdict(ObjectiveConfig()),
        "environments": ("Pendulum-v1", "Hopper-v5"),
        "steps": 4800,
        "run": "run-b",
    }
    return ObjectiveSnapshot(**{**values, **fields})


def test_comes_back_from_the_one_file_alone(tmp_path: Path) -> None:
    original, path = snapshot(), tmp_path / "o.safetensors"
    original.save(path)
    path.with_suffix(".json").unlink()
    loaded = ObjectiveSnapshot.load(path)
    assert loaded.alpha.tobytes() == original.alpha.tobytes()
    assert loaded.describe() == original.describe()
    assert loaded.environments == ("Pendulum-v1", "Hopper-v5")
    assert ObjectiveConfig(**loaded.config) == ObjectiveConfig()
    with pytest.raises(ValueError, match="read-only"):
        loaded.alpha[0] = 1


def test_the_file_is_plain_safetensors_with_a_sidecar_for_people(tmp_path: Path) -> None:
    path = tmp_path / "o.safetensors"
    snapshot().save(path)
    np.testing.assert_array_equal(safetensors.numpy.load_file(path)["alpha"], snapshot().alpha)
    sidecar = json.loads(path.with_suffix(".json").read_text())
    assert sidecar["version"] == 12
    assert sidecar["parameters"] == 4
    assert sidecar["checksum"] == ObjectiveSnapshot.load(path).checksum


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_noticed_or_changes_nothing(data: st.DataObject) -> None:
    original = snapshot(created="2020-01-01T00:00:00+00:00")
    content = bytearray(original.to_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        loaded = ObjectiveSnapshot.from_bytes(bytes(content))
    except (CorruptFile, FutureFormat):
        return
    # The header's padding may differ; what is said and alpha may not.
    assert loaded.checksum == original.checksum


def test_every_changed_byte_of_alpha_and_every_cut_is_noticed() -> None:
    content = snapshot().to_bytes()
    for i in range(len(content) - 16, len(content)):
        changed = bytearray(content)
        changed[i] ^= 1
        with pytest.raises(CorruptFile, match="wrong hash"):
            ObjectiveSnapshot.from_bytes(bytes(changed))
    for cut in (0, 1, 8, 100, len(content) - 1):
        with pytest.raises(CorruptFile):
            ObjectiveSnapshot.from_bytes(content[:cut])


def test_other_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "o.safetensors"
    with open(tmp_path / "huge.safetensors", "wb") as huge:
        huge.truncate(1 << 40)  # of which the disk holds nothing
    with pytest.raises(CorruptFile, match=r"huge.safetensors: no objective is larger than"):
        ObjectiveSnapshot.load(tmp_path / "huge.safetensors")
    with pytest.raises(CorruptFile, match=r"o.safetensors: missing file"):
        ObjectiveSnapshot.load(path)
    path.write_bytes(pickle.dumps({"alpha": [1.0]}))
    with pytest.raises(CorruptFile, match=r"o.safetensors: not a safetensors file"):
        ObjectiveSnapshot.load(path)
    safetensors.numpy.save_file({"alpha": np.ones(3, np.float32)}, path)
    with pytest.raises(CorruptFile, match=r"o.safetensors: not an objective snapshot"):
        ObjectiveSnapshot.load(path)


def test_a_later_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metagenrl.objective_server.snapshots.snapshot.FORMAT", 2)
    content = snapshot().to_bytes()
    monkeypatch.undo()
    with pytest.raises(FutureFormat, match="x: format version 2, readable up to 1"):
        ObjectiveSnapshot.from_bytes(content, "x")


def test_expect_shows_both_architectures() -> None:
    snapshot().expect(ObjectiveConfig(), 4)
    with pytest.raises(WrongArchitecture) as error:
        snapshot().expect(ObjectiveConfig(lstm_units=16, use_time=False), 5)
    assert str(error.value) == (
        "objective architecture: got lstm_units=32, use_time=True, 4 parameters, "
        "expected lstm_units=16, use_time=False, 5 parameters"
    )
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    with pytest.raises(WrongArchitecture, match="got 4 parameters, expected 15497 parameters"):
        snapshot().expect(ObjectiveConfig(), 15497)
    with pytest.raises(WrongArchitecture, match="got kind='epg', 4 parameters, expected kind='-'"):
        snapshot(config={"kind": "epg"}).expect(ObjectiveConfig(), 4)


def test_a_field_that_the_file_lacks_has_its_default() -> None:
    older = {k: v for k, v in snapshot().config.items() if k != "bidirectional"}
    loaded = ObjectiveSnapshot.from_bytes(snapshot(config=older).to_bytes())
    assert loaded.complete_config == dataclasses.asdict(ObjectiveConfig())
    assert loaded.config == older  # the checksum is of what was written
    loaded.expect(ObjectiveConfig(), 4)
    with pytest.raises(WrongArchitecture, match="got bidirectional=False"):
        loaded.expect(ObjectiveConfig(bidirectional=True), 4)


def test_a_field_of_a_later_release_names_the_release_that_reads_it() -> None:
    newer = {**snapshot().config, "attention": True}
    content = snapshot(config=newer, release="9.1.0").to_bytes()
    with pytest.raises(NewerRelease) as error:
        ObjectiveSnapshot.from_bytes(content, "x")
    assert str(error.value) == (
        f"x: the field 'attention' is unknown to metagenrl {RELEASE}; "
        "metagenrl 9.1.0, which wrote the file, reads it"
    )
    assert str(pickle.loads(pickle.dumps(error.value))) == str(error.value)
    known = ObjectiveSnapshot.from_bytes(snapshot(release="9.1.0").to_bytes())
    known.expect(ObjectiveConfig(), 4)  # nothing unknown in it: it is read


def test_a_fact_of_a_later_release_names_it_too() -> None:
    facts = json.loads(_metadata(snapshot())["metagenrl_objective"]) | {"licence": "MIT"}
    metadata = {"metagenrl_objective": json.dumps(facts), "metagenrl_release": "9.1.0"}
    content = safetensors.numpy.save({"alpha": snapshot().alpha}, metadata)
    with pytest.raises(NewerRelease, match=r"'licence' is unknown .* metagenrl 9\.1\.0"):
        ObjectiveSnapshot.from_bytes(content)


def _metadata(of: ObjectiveSnapshot) -> dict[str, str]:
    content = of.to_bytes()
    size = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + size])["__metadata__"]
    return found


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alpha": np.array([1.0, np.nan])}, "alpha: got 'NaN or Inf'"),
        ({"alpha": np.ones((2, 2))}, "alpha: got"),
        ({"version": -1}, "version: got -1"),
    ],
)
def test_bad_values_are_named(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        snapshot(**fields)


def test_saved_under_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"snapshot file: got 'o.json'"):
        snapshot().save(tmp_path / "o.json")
    assert list(tmp_path.iterdir()) == []
