"""Flat vectors and their named views."""

import pytest
import torch

from metagenrl.learner.networks.parameters import Layout

LAYOUT = Layout((("w", (2, 3)), ("b", (3,)), ("one", (1,))))


def test_size_counts_every_parameter():
    assert LAYOUT.size == 10
    assert Layout(()).size == 0


def test_views_follow_the_order_of_the_layout():
    views = LAYOUT.views(torch.arange(10))
    assert list(views) == ["w", "b", "one"]
    assert views["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert views["b"].tolist() == [6, 7, 8]
    assert views["one"].item() == 9


def test_writing_to_a_view_writes_to_the_vector():
    flat = torch.zeros(2, 10)
    views = LAYOUT.views(flat)
    assert views["w"].shape == (2, 2, 3)
    views["b"][1] = 5
    assert flat.tolist() == [[0.0] * 10, [0, 0, 0, 0, 0, 0, 5, 5, 5, 0]]


def test_views_are_differentiable():
    flat = torch.zeros(10, requires_grad=True)
    LAYOUT.views(flat)["b"].sum().backward()
    assert flat.grad.tolist() == [0.0] * 6 + [1.0] * 3 + [0.0]


@pytest.mark.parametrize("size", [9, 11])
def test_another_size_is_refused(size):
    with pytest.raises(ValueError, match=f"^parameters: got {size} values, allowed: 10$"):
        LAYOUT.views(torch.zeros(2, size))
