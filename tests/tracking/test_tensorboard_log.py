"""TensorBoard's files, read back."""

import struct
from collections.abc import Iterator
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

from metagenrl.tracking.tensorboard import TensorBoardLog


def scalars(folder: Path) -> Iterator[tuple[str, int, float]]:
    """(tag, step, value) of the records: length, its checksum, data, its checksum."""
    (file,) = folder.glob("events.out.tfevents.*")
    data, at = file.read_bytes(), 0
    while at < len(data):
        (length,) = struct.unpack("<Q", data[at : at + 8])
        event = Event.FromString(data[at + 12 : at + 12 + length])
        at += 16 + length
        for value in event.summary.value:
            yield value.tag, event.step, value.simple_value


def test_values_stand_at_their_environment_steps(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.log({"agent/03/return": -2.0, "agent/03/steps": 40.0, "steps": 50.0, "meta/cosine": 0.5}, 7)
    log.log({"agent/03/q": 4.0, "agent/03/steps": 60.0}, 8)
    log.log({"heldout/E/return": 9.0, "heldout/steps": 30.0, "meta/cosine": 0.25}, 9)
    log.finish()
    assert list(scalars(tmp_path)) == [
        ("agent/03/return", 40, -2.0),
        ("meta/cosine", 50, 0.5),
        ("agent/03/q", 60, 4.0),
        ("heldout/E/return", 30, 9.0),
        ("meta/cosine", 50, 0.25),  # the steps of the population are still the last known ones
    ]
