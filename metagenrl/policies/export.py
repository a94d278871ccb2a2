"""A kept policy for other programs: TorchScript or ONNX, `s [N, O] -> a [N, A]` in [-1, 1]."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Literal

import torch

from metagenrl.base.checks import UsageError
from metagenrl.base.files.atomic import write_atomic
from metagenrl.policies.kept import KeptPolicy
from metagenrl.policies.network import PolicyNetwork

Format = Literal["onnx", "torchscript"]
_ENDINGS: dict[str, Format] = {".onnx": "onnx", ".pt": "torchscript", ".pth": "torchscript"}
_OPSET = 17  # the first one with layer norm


def format_of(out: Path, asked: Format | Literal["auto"]) -> Format:
    """The format of a file: the one that is asked for, or the one that its ending names.

    Raises `UsageError` where the two differ, or neither says it.
    """
    named = _ENDINGS.get(out.suffix.lower())
    if asked == "auto" and named is not None:
        return named
    if asked != "auto" and named in (None, asked):
        return asked
    of_format = "" if asked == "auto" else f" (format: {asked})"
    endings = [ending for ending, form in _ENDINGS.items() if asked in ("auto", form)]
    allowed = f"a file that ends in {', '.join(endings)}"
    raise UsageError(f"out: got {str(out)!r}{of_format}, allowed: {allowed}")


def export(policy: KeptPolicy, form: Format, out: Path) -> None:
    """Write the network to `out`, complete or not at all.

    Raises `UsageError` where the format's package is missing, `OSError` on a full disk.
    """
    network = PolicyNetwork(policy).eval()
    example = torch.zeros(1, policy.facts.observation_size)
    data = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of torch, about its own exporters
        if form == "torchscript":
            torch.jit.save(torch.jit.trace(network, example), data)
        else:
            _onnx(network, example, data)
    write_atomic(out, [data.getvalue()], durable=True)


def _onnx(network: PolicyNetwork, example: torch.Tensor, data: io.BytesIO) -> None:
    require_onnx()
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(
            network,
            (example,),
            data,  # type: ignore[arg-type]  # a buffer is what it writes to
            dynamo=False,
            opset_version=_OPSET,
            input_names=["observation"],
            output_names=["action"],
            dynamic_axes={"observation": {0: "N"}, "action": {0: "N"}},
        )


def require_onnx() -> None:
    """Raises `UsageError`, with what to install, where ONNX is not there."""
    try:
        import onnx  # noqa: F401 - torch's exporter needs it
    except ImportError:
        raise UsageError(
            "format: got 'onnx', allowed: torchscript, or onnx after: pip install 'metagenrl[onnx]'"
        ) from None
