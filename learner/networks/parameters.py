"""Parameters as one flat vector with named views: one tensor to optimise, send and save."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Names and shapes of the tensors that a flat vector of parameters holds, in order."""

    shapes: tuple[tuple[str, tuple[int, ...]], ...]

    @cached_property
    def size(self) -> int:
        """Number of parameters."""
        return sum(math.prod(shape) for _, shape in self.shapes)

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Named views into `flat [..., size]`, each `[..., *shape]`; writing to them writes to it.

        Raises `ValueError` where the last dimension is not `size`.
        """
        if flat.shape[-1] != self.size:
            raise ValueError(f"parameters: got {flat.shape[-1]} values, allowed: {self.size}")
        parts: Sequence[Tensor] = flat.split([math.prod(s) for _, s in self.shapes], -1)
        lead = flat.shape[:-1]
        return {
            name: part.view(*lead, *shape)
            for (name, shape), part in zip(self.shapes, parts, strict=True)
        }
