"""Identities by round: what is known, forgotten and saved."""

from __future__ import annotations

import numpy as np

from metagenrl.objective_server.seen import SeenGradients

OLD, NEW, TWIN = (3, 0, 7, 6), (1, 2, 8, 8), (0, 0, 8, 7)  # agent, incarnation, round, version


def test_what_was_added_is_known_and_what_is_old_forgotten() -> None:
    first = SeenGradients().including([OLD, NEW])
    second = first.including([TWIN, NEW])
    assert all(key in second for key in (OLD, NEW, TWIN))
    assert TWIN not in first
    assert (3, 1, 7, 6) not in second, "another incarnation's"
    assert (3, 0, 9, 6) not in second, "another round's"
    later = second.since(8)
    assert [key in later for key in (OLD, NEW, TWIN)] == [False, True, True]
    assert OLD in second


def test_it_is_saved_and_restored() -> None:
    seen = SeenGradients().including([NEW]).including([OLD, TWIN])
    rows = seen.to_rows()
    assert rows.dtype == np.int64
    assert rows.tolist() == [list(OLD), list(TWIN), list(NEW)]
    again = SeenGradients.from_rows(rows[::-1])
    np.testing.assert_array_equal(again.to_rows(), rows)
    assert all(key in again for key in (OLD, NEW, TWIN))


def test_nothing_is_rows_of_four() -> None:
    assert SeenGradients().to_rows().shape == (0, 4)
    assert SeenGradients.from_rows(np.empty((0, 4), np.int64)).to_rows().shape == (0, 4)
