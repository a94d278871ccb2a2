"""The library of C kernels: whether there is one here, how its functions are called.

It is built at installation from `src`. `METAGENRL_KERNELS=torch` opts out of it, `blas` of its
wide networks only.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metagenrl.learner.native.built import open_library

_CHOICES = ("c", "blas", "torch")
_LEVELS = ("base", "avx2", "avx512")


def _load() -> ctypes.CDLL | None:
    choice = os.environ.get("METAGENRL_KERNELS") or "c"
    if choice not in _CHOICES:
        raise ValueError(f"METAGENRL_KERNELS: got {choice!r}, allowed: {', '.join(_CHOICES)}")
    if choice == "torch":
        return None
    library = open_library()
    if library is not None:
        return library
    warnings.warn(
        "the C kernels were not built (no C compiler at installation?): updates run in plain "
        "torch, several times slower at small sizes",
        stacklevel=2,
    )
    return None


_LIBRARY = _load()
_LEVEL = _LEVELS[_LIBRARY.metagenrl_kernel_level()] if _LIBRARY is not None else "torch"
_FUNCTIONS: dict[tuple[str, torch.dtype], Any] = {}
_WIDE: dict[int, str] = {}  # by terms, see `wide_form`
_AVX512 = _LIBRARY if _LEVEL == "avx512" else None
_AMX = _AVX512 is not None and bool(_AVX512.metagenrl_amx_usable())
_BF16 = _AVX512 is not None and bool(_AVX512.metagenrl_bf16_usable())
if _LEVEL in ("avx2", "avx512") and os.environ.get("METAGENRL_KERNELS") != "blas":
    _WIDE = dict.fromkeys((1, 2, 3), "amx" if _AMX else _LEVEL)
    if _BF16 and not _AMX:
        _WIDE[1] = "bf16"


def backend() -> str:
    """The form of float32 on this CPU: `avx512+amx`, `avx512`, `avx2`, `base` or `torch`."""
    if _LIBRARY is None:
        return "torch"
    return f"{_LEVEL}+amx" if wide_form(3) == "amx" else _LEVEL


def wide_form(terms: int) -> str | None:
    """How this processor multiplies for a wide network in one call (see `mlp_wide.py`).

    `amx`, its matrix unit; `avx512` or `avx2`, multiply-adds in float32; `bf16`, such that take
    bfloat16, for one term where there are any; None where wide networks run layer by layer on the
    BLAS.
    """
    return _WIDE.get(terms)


def multiplies_bfloat16(x: Tensor) -> bool:
    """Whether the device of `x` does; a processor that imitates it takes seven times as long."""
    return x.device.type != "cpu" or _AMX or _BF16


def wide_scratch(form: str, terms: int, shape: ctypes.Structure) -> tuple[Tensor, Tensor]:
    """Room for float32 and for packed factors, each from a multiple of 64 bytes on."""
    size = ctypes.byref(shape)
    room: Callable[..., int] = getattr(_LIBRARY, f"metagenrl_{form}_room")
    packed = room(ctypes.c_long(terms), size) if form == "amx" else room(size)
    dtype = torch.bfloat16 if form == "amx" else torch.float32
    floats: int = getattr(_LIBRARY, f"metagenrl_{form}_work")(size)
    return _aligned(torch.empty(floats + 16)), _aligned(torch.empty(packed + 32, dtype=dtype))


def _aligned(x: Tensor) -> Tensor:
    return x[-x.data_ptr() % 64 // x.element_size() :]


def scratch(like: Tensor, room: str, *sizes: ctypes.Structure, parts: int = 1) -> list[Tensor]:
    """As many tensors as kernel `room` says how long they have to be, for `sizes`."""
    counts = (ctypes.c_long * parts)()
    call(room, like.dtype, *sizes, counts)
    return [like.new_empty(count) for count in counts]


def reads(x: Tensor) -> bool:
    """Whether the library was built and `x` lies where C reads it."""
    return _LIBRARY is not None and x.device.type == "cpu"


def usable(x: Tensor) -> bool:
    """Whether the C kernels take `x`: on the CPU, and no graph is being recorded."""
    return reads(x) and not torch.is_grad_enabled()


Argument = int | Tensor | ctypes.Structure | ctypes.Array[Any] | None


def call(name: str, dtype: torch.dtype, *arguments: Argument) -> None:
    """Call kernel `name` for `dtype`: tensors by address, structures by reference.

    Kernels named bf16_ and amx_ take bfloat16 beside float32. Raises `ValueError` for a tensor
    of another type, and for one that is not contiguous: C would read what is not the tensor's.
    """
    key = (name, dtype)
    function = _FUNCTIONS.get(key)
    if function is None:
        suffix = f"f32_{_LEVEL}" if dtype == torch.float32 else "f64_base"
        function = _FUNCTIONS[key] = getattr(_LIBRARY, f"{name}_{suffix}")
        function.restype = None
    converted: list[Any] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            converted += map(ctypes.c_void_p, addresses(name, dtype, argument))
        elif isinstance(argument, (ctypes.Structure, ctypes.Array)):
            converted.append(ctypes.byref(argument))
        else:
            converted.append(ctypes.c_void_p(None) if argument is None else ctypes.c_long(argument))
    function(*converted)


def addresses(name: str, dtype: torch.dtype, *tensors: Tensor) -> list[int]:
    """Where kernel `name` for `dtype` finds the tensors. Raises `ValueError` as `call` does."""
    allowed = (dtype, torch.bfloat16) if name.startswith(("bf16_", "amx_")) else (dtype,)
    for tensor in tensors:
        if tensor.dtype not in allowed:
            raise ValueError(f"{name}: got a tensor of {tensor.dtype}, allowed: {allowed}")
        if not tensor.is_contiguous():
            raise ValueError(f"{name}: got strides {tensor.stride()}, allowed: contiguous tensors")
    return [tensor.data_ptr() for tensor in tensors]


class Ring(ctypes.Structure):
    """`ring` of `replay.h`."""

    _fields_ = [
        *((name, ctypes.c_long) for name in ("capacity", "size", "oldest", "O", "A")),
        *((name, ctypes.c_void_p) for name in ("observations", "actions", "rewards")),
        *((name, ctypes.c_void_p) for name in ("next_observations", "terminated", "ends")),
    ]


def gather(ring: Ring, segments: int, length: int, *places: int) -> bool:
    """Put segments of a replay buffer together; False where there is no library.

    `places` are addresses: of the ages that segments start at, and of the five arrays of
    `metagenrl.agents.experience.segments.Segments`.
    """
    if _LIBRARY is None:
        return False
    sizes, pointers = map(ctypes.c_long, (segments, length)), map(ctypes.c_void_p, places)
    _LIBRARY.metagenrl_gather(ctypes.byref(ring), *sizes, *pointers)
    return True
