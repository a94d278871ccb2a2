"""Words for numbers."""

from metagenrl.base.wording import counted


def test_a_number_has_its_word() -> None:
    assert [counted(number, "seed") for number in (0, 1, 1_000)] == [
        "0 seeds",
        "1 seed",
        "1,000 seeds",
    ]
    assert counted(2, "process", "processes") == "2 processes"
