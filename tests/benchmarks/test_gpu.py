"""The GPU's benchmark: it runs without one at small sizes, and says so where there is none."""

from pathlib import Path

import pytest
import torch

from benchmarks import bench, gpu
from benchmarks.gpu import GpuOptions, measure_gpu


def test_a_cohort_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "WARM_UP_ROUNDS", 0)
    options = GpuOptions("cpu", agents=2, size="small", env_workers=0, seconds=0.01)
    result = measure_gpu(options)
    assert (result.device, result.agents, result.rounds) == ("cpu", 2, 1)
    assert result.steps_per_s == pytest.approx(result.share_of_target * gpu.TARGET_STEPS_PER_S)
    assert 0 < result.steps_per_s < 4 / 0.01


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_line_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "b.json"
    assert bench.main(["--only", "gpu", "--out", str(out)]) == 0
    assert out.read_text() == "{}\n"
    assert "gpu: not measured, no GPU that CUDA can use" in capsys.readouterr().out
    with pytest.raises(ValueError, match="device: got 'cuda'"):
        measure_gpu(GpuOptions("cuda"))
