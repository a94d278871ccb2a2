"""The reference of commands: every option, its words, its default and what a preset changes."""

from dataclasses import dataclass

from metagenrl.commands.parsing import accepted_flags
from metagenrl.commands.table import COMMANDS


def test_every_option_of_every_command_is_in_the_reference_with_words(site_module) -> None:
    sections = site_module("commands").reference().split("\n## ")
    by_name = {section.splitlines()[0].removeprefix("## "): section for section in sections}
    for name, command in COMMANDS.items():
        text = by_name[f"metagenrl {name}"]
        dotted = {flag for flag in accepted_flags(command.config_class) if flag.startswith("--")}
        paths = {accepted_flags(command.config_class)[flag].path for flag in dotted}
        shown = {flag for flag in dotted if f"`{flag}`" in text}
        assert {accepted_flags(command.config_class)[flag].path for flag in shown} == paths, name
    assert "\n:   \n" not in "".join(sections)  # an option without a word


def test_an_entry_says_what_presets_change(site_module) -> None:
    text = site_module("commands").reference()
    train = text[text.index("## metagenrl train") : text.index("## metagenrl test")]
    (agents,) = [line for line in train.splitlines() if line.startswith("`--agents` ")]
    assert agents == "`--agents` a whole number · quickstart: `8`, small: `8`, paper: `20`"


def test_docstrings_below_fields_are_read_with_inherited_ones(site_module) -> None:
    @dataclass
    class Base:
        a: int = 1
        """First."""

    @dataclass
    class Derived(Base):
        b: int = 2
        """Second
        line."""

    assert site_module("commands").docstrings(Derived).keys() == {"a", "b"}
