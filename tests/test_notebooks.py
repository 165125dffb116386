"""Every notebook is kept without outputs, and runs from top to bottom in a kernel and a folder of its own."""

import json
import os
import subprocess
import sys

import nbformat
import pytest

from tests.processes import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LIMIT = 600  # seconds for all of a notebook, which takes less than a minute on two idle cores: a guard against a hang
# What a run in the notebook has to show: tuning does what the text says it does.
SUMMARIES = {"01_quickstart": "lightning_logs/version_0/summary.json"}
# Where nothing is asked of what was learned, a copy that learns for a shorter time is run.
SHORTER = {
    "02_your_own_tasks": [('updates_per_epoch": 450', 'updates_per_epoch": 45'), ('_episodes": 50', '_episodes": 5')],
    "03_write_a_tuner": [("updates_per_epoch=900", "updates_per_epoch=60"), ("_episodes=50", "_episodes=5")],
    "04_reading_a_run": [('updates_per_epoch": 300', 'updates_per_epoch": 30'), ('candidates": 50', 'candidates": 5')],
}


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_notebooks_are_there():
    assert {path.stem for path in NOTEBOOKS} >= {"01_quickstart", "02_your_own_tasks", "03_write_a_tuner"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert [cell.source for cell in code_cells(notebook) if cell.outputs or cell.execution_count is not None] == []
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].cell_type == "markdown"


def shorter(path):
    """The notebook as it is run."""
    notebook = nbformat.read(path, as_version=4)
    for long, short in SHORTER.get(path.stem, []):
        (cell,) = [cell for cell in code_cells(notebook) if long in cell.source]
        cell.source = cell.source.replace(long, short)
    return notebook


def execute(path, folder, limit=LIMIT):
    """The notebook with its outputs.

    In a process, whose end is the kernel's end too: nbclient's own limit is one for each cell.
    """
    nbformat.write(shorter(path), folder / path.name)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-c", "from nbclient.cli import main; main()", "--inplace", path.name]
    done = subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=limit, check=False
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return nbformat.read(folder / path.name, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, point_data):
    notebook = execute(path, tmp_path)
    for number, cell in enumerate(code_cells(notebook), start=1):
        assert cell.execution_count == number
        assert [output for output in cell.outputs if output.output_type == "error"] == []
    assert any(cell.outputs for cell in code_cells(notebook))
    if path.stem in SUMMARIES:
        results = json.loads((tmp_path / SUMMARIES[path.stem]).read_text())["aggregate"]
        assert results["tuned"]["return"] > results["untuned"]["return"] + 1.0


def test_a_notebook_that_fails_is_noticed(tmp_path):
    cells = [nbformat.v4.new_code_cell("1 / 0")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "bad.ipynb")
    (tmp_path / "own").mkdir()
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        execute(tmp_path / "bad.ipynb", tmp_path / "own")
