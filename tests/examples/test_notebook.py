"""The notebook runs from top to bottom and ends in a picture."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from metagenrl.objective_server.snapshots.pretrained import DEFAULT, pretrained_names

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.skipif(DEFAULT not in pretrained_names(), reason="no pretrained objective is shipped")
def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPS", "1000")
    notebook = nbformat.read(EXAMPLES / "pretrained.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    where = {"metadata": {"path": str(EXAMPLES)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
