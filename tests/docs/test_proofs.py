"""What survives what: every test that the table names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_proof_of_the_reliability_tables_is_there() -> None:
    lines = (ROOT / "docs" / "reliability.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    heads = [line for line in rows if line.startswith(("| fault ", "|---"))]
    assert len(rows) - len(heads) > 60
    proofs = ("`tests/", "`make ")
    unproved = [r for r in rows if r not in heads and not any(p in r for p in proofs)]
    assert unproved == []
    named = re.findall(r"`(tests/[^`]+)`", "\n".join(rows))
    assert [name for name in named if not (ROOT / name).exists()] == []
