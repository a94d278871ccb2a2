"""A kept policy's episode as a film (mp4 or gif), or a strip of pictures."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from metagenrl.agents.environment.limits import EPISODE_LIMIT
from metagenrl.agents.experience.rollout import Episode
from metagenrl.base.checks import UsageError
from metagenrl.base.paths import check_file
from metagenrl.policies.kept import KeptPolicy
from metagenrl.policies.play import CannotDraw, Frame, episode

FORMATS = (".mp4", ".gif")
FRAMES_PER_SECOND = 30


def film(policy: KeptPolicy, seed: int, out: Path, most: int = EPISODE_LIMIT) -> Episode:
    """Write the film of one episode to `out`; the episode.

    Raises `UsageError` where the format is none of ours or mp4's encoder is missing, and
    `CannotDraw`, `OSError` where it cannot be written. Then nothing is left at `out`.
    """
    check_format(out)
    frames: list[Frame] = []

    def keep(frame: Frame) -> None:
        if frames and frame.shape != frames[0].shape:
            raise CannotDraw(
                f"environment: got {policy.facts.env!r}, whose render() returned {frame.shape} "
                f"after {frames[0].shape}, allowed: pictures of one size"
            )
        frames.append(frame)

    lived = episode(policy, seed, "rgb_array", keep, most)
    partial = out.with_name(f".{out.stem}.partial{out.suffix}")
    encode = _mp4 if out.suffix == ".mp4" else _gif
    try:
        encode(partial, [even(f) for f in frames])
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return lived


def _gif(file: Path, frames: list[Any]) -> None:
    import imageio.v2 as imageio

    imageio.mimwrite(file, frames, duration=1000 / FRAMES_PER_SECOND, loop=0)


def _mp4(file: Path, frames: list[Any]) -> None:
    """As a process of its own encodes them, which does not tell us how it ended: the file does."""
    import imageio.v2 as imageio
    import imageio_ffmpeg

    try:
        imageio.mimwrite(
            file, frames, fps=FRAMES_PER_SECOND, macro_block_size=2, ffmpeg_log_level="quiet"
        )
        imageio_ffmpeg.count_frames_and_secs(str(file))
    except (OSError, RuntimeError) as error:
        free = shutil.disk_usage(file.parent).free
        why = f"the encoder could not finish it, {free >> 10} KiB free on its disk"
        raise OSError(errno.EIO, why) from error


def check_format(out: Path) -> None:
    """Refuse a file that is no film, a folder that is not there, and mp4 without its encoder."""
    if out.suffix not in FORMATS:
        raise UsageError(f"out: got {str(out)!r}, allowed: a file that ends in .mp4 or .gif")
    check_file("out", out)
    if out.suffix == ".mp4":
        try:
            import imageio_ffmpeg  # noqa: F401 - imageio finds it by itself
        except ImportError:
            raise UsageError(
                f"out: got {str(out)!r}, allowed: a .gif, or .mp4 after: pip install imageio-ffmpeg"
            ) from None


def strip(policy: KeptPolicy, seed: int, pictures: int, every: int = 0, height: int = 120) -> Frame:
    """`pictures` side by side, `every` steps apart (0: over the whole episode): `[height, W, 3]`.

    Fewer where the episode is shorter. Raises `CannotDraw`.
    """
    frames: list[Frame] = []
    apart = every or max(1, episode(policy, seed, "rgb_array").length // pictures)
    last = (pictures - 1) * apart + 1
    episode(policy, seed, "rgb_array", frames.append, last, every=apart)
    return np.concatenate([_small(frame, height) for frame in frames], 1)


def even(frame: Frame) -> Frame:
    """Without the last row or column where their number is odd, as encoders want it."""
    h, w = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
    return frame[:h, :w]


def _small(frame: Frame, height: int) -> Frame:
    """The nearest pixels at `height` rows."""
    width = frame.shape[1] * height // frame.shape[0]
    rows = np.arange(height) * frame.shape[0] // height
    columns = np.arange(width) * frame.shape[1] // width
    return frame[rows][:, columns]
