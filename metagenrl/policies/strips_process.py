"""Draws film strips in a process of its own, as drawing may crash, hang or change the process.

Its job, one line of JSON on standard input: a list of [run, seed, file without its ending]. For
each it leaves a .png, or a .txt with the reason in one line.
"""

from __future__ import annotations

import json
from pathlib import Path

from metagenrl.base.job_process import read_job
from metagenrl.policies.play import prepare_drawing

PICTURES = 7


def main() -> None:
    """Draw what the job asks for."""
    prepare_drawing()
    import imageio.v2 as imageio

    from metagenrl.policies.film import strip
    from metagenrl.policies.find import kept_policy

    for run, seed, stem in json.loads(read_job()):
        try:
            picture = strip(kept_policy(Path(run), seed), seed, PICTURES)
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            Path(f"{stem}.txt").write_text(reason, encoding="utf-8")
        else:
            imageio.imwrite(f"{stem}.png", picture)


if __name__ == "__main__":
    main()
