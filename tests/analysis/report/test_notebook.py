"""The analyst's notebook runs from its first cell to its last on a fresh outcome."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from analysis.export.folder import write
from flipside.schemas import ROOT
from tests.analysis.outcomes import outcome

NOTEBOOK = ROOT / "examples" / "estimates.ipynb"


# The kernel's own event loop warns of how zmq polls; what our code warns of fails the other tests.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::RuntimeWarning")
def test_it_runs_to_its_end_and_finds_the_published_effect_by_hand(tmp_path: Path) -> None:
    write(outcome(), tmp_path / "outcome")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", ()))
    assert "504 unit-days" in said
    by_hand, published = re.findall(r"by hand (-\d+\.\d)%, published (-\d+\.\d)%", said)[0]
    assert abs(float(by_hand) - float(published)) < 3
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    assert sum("image/svg+xml" in out.get("data", {}) for out in outputs) == 3


def test_it_is_kept_without_outputs() -> None:
    cells = [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
