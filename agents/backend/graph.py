"""Where the reference computes: the CPU, or one GPU whose work is replayed as graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metagenrl.learner.hyperparams import Device

_WARM_UPS = 3  # libraries choose algorithms and workspaces in the first calls


def require_device(name: Device) -> None:
    """Raises `ValueError` where this process has no such device."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: got 'cuda' (no GPU that CUDA can use), allowed: cpu")


def prepare_device(name: Device) -> torch.device:
    """The device, where float32 products of this process are float32 proper from now on.

    Not TF32, whatever the precision: its 10 bits spoil the inner half of the meta-gradient as
    bfloat16 does (docs/performance.md). Raises `ValueError` as `require_device` does.
    """
    require_device(name)
    if name == "cuda":
        torch.set_float32_matmul_precision("highest")
    return torch.device(name)


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A copy on the device that nobody waits for; on the CPU the tensor itself."""
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


class Replayed:
    """A function of tensors that stay in their places: on a GPU one CUDA graph.

    A graph costs one launch instead of hundreds, and what the function does in Python happens only
    once. With `flags` all zero a call must have no effect but on scratch and results: so is the
    function warmed up before it is captured. On the CPU, or without `graphs`, the function is
    called as it is.
    """

    def __init__(self, function: Callable[[], None], flags: Tensor, graphs: bool = True) -> None:
        self._function, self._flags, self._graphs = function, flags, graphs
        self._graph: Any = None

    def __call__(self) -> None:
        """Do, or begin to do, what the function does."""
        if not self._graphs or self._flags.device.type == "cpu":
            self._function()
            return
        if self._graph is None:
            self._capture()
        self._graph.replay()

    def _capture(self) -> None:
        flags = self._flags.clone()
        self._flags.zero_()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self._function()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._function()
        self._flags.copy_(flags)
