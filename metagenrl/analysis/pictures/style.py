"""Matplotlib's settings while a picture is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context, rcdefaults


@contextmanager
def only(settings: Any) -> Iterator[None]:
    """Matplotlib as it comes, with these settings.

    Others do not count: an environment's module may have set some, such as `text.usetex`.
    """
    with rc_context():
        rcdefaults()
        with rc_context(settings):
            yield
