from __future__ import annotations

import hashlib
import json
import math
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from metagenrl.base.files.atomic import write_atomic
from metagenrl.base.files.errors import CorruptFile, FutureFormat
from metagenrl.base.files.state_codec import TAGS
from metagenrl.base.files.state_file import pack, read_state, unpack, write_state

PAIRS = Path(__file__).parents[2] / "golden/pairs/inprocess/server"
HERE = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def same(a: object, b: object) -> bool:
    """Equal in type, order of keys and every bit."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return (
            isinstance(a, np.ndarray)
            and isinstance(b, np.ndarray)
            and (a.dtype, a.shape) == (b.dtype, b.shape)
            and np.asarray(a, order="C").tobytes() == b.tobytes()
        )
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or (isinstance(a, float) and math.isnan(a) and math.isnan(b))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**130), 2**130) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
arrays = hnp.arrays(
    st.sampled_from(sorted(TAGS, key=str)), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)
)
keys = st.text(max_size=4) | st.sampled_from(
    ["__metadata__", "~state", "~sha256", "a/b", "~0", "/", "", "a", "b"]
)
states = st.recursive(
    st.dictionaries(keys, json_values | arrays, max_size=4),
    lambda inner: st.dictionaries(keys, inner | arrays, max_size=3),
    max_leaves=4,
)


@HERE
@given(state=states)
def test_every_state_comes_back_to_the_bit(tmp_path: Path, state: dict) -> None:
    write_state(tmp_path, "s", state)
    assert same(state, read_state(tmp_path, "s"))
    assert pack(state) == (tmp_path / "s.safetensors").read_bytes()
    assert same(state, unpack(pack(state), "s"))


def test_layouts_and_special_values(tmp_path: Path) -> None:
    matrix = np.arange(6, dtype=np.float64).reshape(2, 3)
    state = {
        "fortran": np.asfortranarray(matrix),
        "strided": np.arange(20, dtype=np.int64)[::3],
        "nan": np.array([np.nan, -0.0, np.inf], np.float32),
        "0-d": np.array(7, np.uint8),
        "empty": np.zeros((0, 5), bool),
        "nothing": {},
        "a": {"b": np.array([1.0]), "~": np.array([2.0])},
        "a/b": np.array([3.0]),
        "a/~0": np.array([4.0]),
        "__metadata__": np.array([5.0]),
        "generator": np.random.default_rng(5).bit_generator.state,
        "python": [random.Random(3).getrandbits(128), -0.0, math.inf, None, [], "\u2603"],
    }
    write_state(tmp_path, "s", state)
    found = read_state(tmp_path, "s")
    assert same(state, found)
    found["nan"][0] = 1.0  # what is read can be trained on
    rng = np.random.default_rng(0)
    rng.bit_generator.state = found["generator"]
    assert rng.random() == np.random.default_rng(5).random()


def test_arrays_are_plain_safetensors(tmp_path: Path) -> None:
    write_state(tmp_path, "s", {"net": {"w": np.eye(2, dtype=np.float32)}, "n": 3})
    loaded = safetensors.numpy.load_file(tmp_path / "s.safetensors")
    np.testing.assert_array_equal(loaded["net/w"], np.eye(2))
    assert json.loads(loaded["~state"].tobytes()) == {
        "format": 2,
        "state": {"net": {"w": None}, "n": 3},
    }
    content = (tmp_path / "s.safetensors").read_bytes()
    assert hashlib.sha256(content[:-32]).digest() == content[-32:] == loaded["~sha256"].tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["s.safetensors"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((1, 2), "state a/b: got tuple"),
        (np.float64(1), "state a/b: got float64"),
        (np.array(["x"], object), "state a/b: got dtype object"),
        (np.array([1], ">f4"), "state a/b: got dtype >f4"),
        ([np.zeros(1)], "state a/b: got ndarray"),
        ({3: 1}, "state key a/b/3: got int, allowed: str"),
        ([{3: 1}], "state a/b: got key 3"),
        (object(), "state a/b: got object"),
    ],
)
def test_what_would_come_back_as_something_else_is_refused(tmp_path, value, message) -> None:
    with pytest.raises(ValueError, match=message):
        write_state(tmp_path, "s", {"a": {"b": value}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", ["s.safetensors", "state-0.safetensors", "state-0.json"])
@HERE
@given(data=st.data())
def test_no_changed_byte_is_loaded(tmp_path: Path, file: str, data: st.DataObject) -> None:
    write_state(tmp_path, "s", {"a": np.arange(3.0), "b": {"c": 1, "d": [True, None, 2.5]}})
    for old in ("state-0.safetensors", "state-0.json"):
        shutil.copy(PAIRS / old, tmp_path)
    path = tmp_path / file
    assert read_state(tmp_path, path.stem)
    content = bytearray(path.read_bytes())
    kind = data.draw(st.sampled_from(["flip", "cut", "add"]))
    if kind == "flip":
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        content += data.draw(st.binary(min_size=1, max_size=4))
    path.write_bytes(content)
    with pytest.raises((CorruptFile, FutureFormat)):
        read_state(tmp_path, path.stem)
    if file == "s.safetensors":
        with pytest.raises(CorruptFile):
            unpack(bytes(content), "s")


def test_errors_name_file_and_hashes(tmp_path: Path) -> None:
    write_state(tmp_path, "s", {"a": np.zeros(4)})
    tensors = tmp_path / "s.safetensors"
    content = tensors.read_bytes()
    tensors.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(CorruptFile, match=r"s.safetensors: wrong hash") as error:
        read_state(tmp_path, "s")
    assert error.value.expected == content[-32:].hex()
    assert error.value.found == hashlib.sha256(tensors.read_bytes()[:-32]).hexdigest()
    copy = pickle.loads(pickle.dumps(error.value))
    assert (str(copy), copy.path) == (str(error.value), tensors)
    tensors.write_bytes(content[:31])
    with pytest.raises(CorruptFile, match="truncated"):
        read_state(tmp_path, "s")
    tensors.unlink()
    with pytest.raises(CorruptFile, match=r"s.safetensors: missing file"):
        read_state(tmp_path, "s")
    with pytest.raises(CorruptFile, match=r"other.safetensors: missing file"):
        read_state(tmp_path, "other")


def test_a_later_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metagenrl.base.files.state_file.FORMAT", 9)
    write_state(tmp_path, "s", {"a": 1})
    monkeypatch.undo()
    with pytest.raises(FutureFormat, match=r"s.safetensors: format version 9, readable up to 2"):
        read_state(tmp_path, "s")


class Bomb:
    """Pickles to a call that leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("dressed", ["pickle", "zip"])
def test_a_pickle_dressed_as_safetensors_is_refused(tmp_path, dressed) -> None:
    marker = tmp_path / "code-ran"
    payload = tmp_path / "payload"
    payload.write_bytes(pickle.dumps(Bomb(marker)))
    if dressed == "zip":
        with zipfile.ZipFile(tmp_path / "z", "w") as archive:
            archive.write(payload, "archive/data.pkl")
        payload = tmp_path / "z"
    # Even with a hash that vouches for it, as someone who prepares such a file would write.
    write_atomic(tmp_path / "s.safetensors", [payload.read_bytes()], sealed=True)
    with pytest.raises(CorruptFile, match=r"s.safetensors: not a safetensors file"):
        read_state(tmp_path, "s")
    assert not marker.exists()
    pickle.loads((tmp_path / "payload").read_bytes())
    assert marker.exists()  # the bomb is live
