"""How many of the agents take part: told whenever it changes."""

from __future__ import annotations

from metagenrl.cluster.recorder import Recorder
from metagenrl.cluster.roster import Roster


class Strength:
    """Watches a roster; a population that shrank or is whole again is an event."""

    def __init__(self, roster: Roster, recorder: Recorder) -> None:
        self._roster, self._recorder = roster, recorder
        self._noted = len(roster.present)

    def note(self) -> None:
        """Tell when it differs from the last time; agents that are done count as there."""
        total = len(self._roster.present)
        there = len(self._roster.in_condition("idle", "busy", "done"))
        if there == self._noted:
            return
        self._noted = there
        if there < total:
            self._recorder.event("degraded", None, f"degraded: {there}/{total} agents")
        else:
            self._recorder.event("complete", None, f"all {total} agents take part again")
