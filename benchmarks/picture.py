"""The results as a picture: how near each update comes to the machine's GEMM rate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_COLORS = {"project": "#1b6ca8", "mixed": "#d9822b", "reference": "#8a8a8a"}
_LABELS = {
    "project": "here, float32",
    "mixed": "here, mixed precision",
    "reference": "plain PyTorch",
}


def draw(values: Mapping[str, Any], path: Path) -> None:
    """Write the picture: one panel a size, achieved rates beside the limit."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sizes = values["sizes"]
    figure, axes = plt.subplots(
        1, len(sizes), figsize=(5.6 * len(sizes), 4.4), squeeze=False, layout="constrained"
    )
    for axis, size in zip(axes[0], sizes.values(), strict=True):
        _panel(axis, size, values["gemm_limit_gflops"])
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    machine = values["machine"]
    figure.suptitle(f"{machine['cpu']}, one thread, {values['date'][:10]}", fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _panel(axis: Any, size: Mapping[str, Any], limit: float) -> None:
    """Bars of the achieved rate; the line is the GEMM limit in float32."""
    rows, step = size["rows"], 0.27
    kinds = [kind for kind in _LABELS if any(kind in row for row in rows)]
    for place, kind in enumerate(kinds):
        rates = [row["gflop"] / row[kind]["median_ms"] * 1e3 if kind in row else 0 for row in rows]
        heights = [i + (place - (len(kinds) - 1) / 2) * step for i in range(len(rows))]
        bars = axis.barh(heights, rates, height=step, color=_COLORS[kind], label=_LABELS[kind])
        axis.bar_label(bars, [f"{rate / limit:.0%}" if rate else "" for rate in rates], fontsize=7)
    axis.axvline(limit, color="black", linewidth=1)
    axis.text(limit, -0.55, f"GEMM {limit:.0f}", fontsize=7, va="bottom", ha="center")
    axis.set_yticks(range(len(rows)), [row["task"] for row in rows], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("GFLOP/s (percent: of the float32 GEMM limit)", fontsize=8)
    agent = size["problem"]["agent"]
    sizes = (
        f"{agent['hidden_units']} units, {agent['batch_size']} x {agent['segment_length']} steps"
    )
    axis.set_title(f"{size['problem']['name']}: {sizes}", fontsize=9)
    axis.spines[["top", "right"]].set_visible(False)
