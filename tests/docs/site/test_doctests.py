"""Examples in docstrings are code on the site."""

import pytest


def test_an_example_with_its_output_is_fenced_and_the_rest_is_not(site_module) -> None:
    pytest.importorskip("griffe", reason="the extra `docs` is not installed")
    text = "Words.\n\n>>> a = f(\n...     1\n... )\n>>> a\n2\n\nMore words.\n"
    assert site_module("doctests").fenced(text) == (
        "Words.\n\n```pycon\n>>> a = f(\n...     1\n... )\n>>> a\n2\n```\n\nMore words.\n"
    )
