"""Files beside the user that would be imported in the place of packages."""

from __future__ import annotations

from pathlib import Path

import pytest

from metagenrl.base.checks import UsageError
from metagenrl.cluster.joining.connect import connect
from metagenrl.cluster.joining.hidden import refuse_hidden_packages


@pytest.mark.parametrize("file", ["torch.py", "numpy/__init__.py"])
def test_a_package_that_ray_would_lose_is_named_before_it_starts(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # by an earlier test
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    with pytest.raises(UsageError, match=r"hides the package (torch|numpy) from Ray's workers"):
        connect(lambda cpus: pytest.fail("a Ray would be started"))


def test_other_names_and_folders_of_results_stand_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "my_env.py").touch()
    (tmp_path / "random.py").touch()  # Python's own comes first
    for folder in ("wandb", "ray", "metagenrl"):
        (tmp_path / folder).mkdir()
    (tmp_path / "metagenrl" / "__init__.py").touch()
    refuse_hidden_packages([str(tmp_path)])
