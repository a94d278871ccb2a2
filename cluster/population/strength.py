"""How many of the agents take part: told whenever it changes."""

from __future__ import annotations

from metagenrl.cluster.population.roster import Roster
from metagenrl.cluster.recording.recorder import Recorder


class Strength:
    """Watches a roster; a population that shrank or is whole again is an event."""

    def __init__(self, roster: Roster, recorder: Recorder) -> None:
        self._roster, self._recorder = roster, recorder
        self._missing = 0

    def note(self) -> None:
        """Tell when more or fewer are missing than the last time; who is done counts as there.

        Newcomers that are still coming up are not missing: nobody has counted on them yet.
        """
        newcomers = [s for s in self._roster.in_condition("starting") if not s.restarts]
        total = len(self._roster.present) - len(newcomers)
        there = len(self._roster.in_condition("idle", "busy", "done"))
        missing, self._missing = self._missing, total - there
        if self._missing == missing:
            return
        if self._missing:
            self._recorder.event("degraded", None, f"degraded: {there}/{total} agents")
        else:
            self._recorder.event("complete", None, f"all {total} agents take part again")
