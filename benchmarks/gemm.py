"""How fast this machine multiplies float32 matrices: the limit that updates are held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.problem import Problem

PAPER_SHAPE = (2000, 350, 350)
"""The hidden layers' product at the paper's sizes; measured for every size."""


@dataclass(frozen=True)
class Gemm:
    """One way to multiply `[m, k]` by `[k, n]`."""

    shape: tuple[int, int, int]  # m, k, n
    kernel: str
    call: Callable[[], object]

    @property
    def name(self) -> str:
        """`2000x350x350 mm`."""
        return f"{'x'.join(map(str, self.shape))} {self.kernel}"

    @property
    def flops(self) -> int:
        """Of one call."""
        m, k, n = self.shape
        return 2 * m * k * n


def gemms(problem: Problem) -> list[Gemm]:
    """Every kernel at the paper's shape, this problem's hidden layers and its objective's."""
    h, e = problem.agent.hidden_units, problem.objective.hidden_units
    shapes = [
        PAPER_SHAPE,
        (problem.rows, h, h),
        (problem.rows * problem.action_size, e, e),
    ]
    return [gemm for shape in dict.fromkeys(shapes) for gemm in _kernels(shape)]


def _kernels(shape: tuple[int, int, int]) -> list[Gemm]:
    m, k, n = shape
    x, w, out = torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)
    kernels = [Gemm(shape, "mm", lambda: torch.mm(x, w, out=out))]
    if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        linear, weight = torch.ops.mkldnn._linear_pointwise, w.mT.contiguous()
        with torch.no_grad():
            kernels.append(
                Gemm(shape, "oneDNN linear", lambda: linear(x, weight, None, "none", [], ""))
            )
    return kernels
