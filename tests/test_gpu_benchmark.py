"""The benchmark for GPUs runs on the CPU at small size, and on a machine with torch, Lightning and NumPy alone."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.absent import OTHERS

# Lightning asks for the metadata of omegaconf by itself, so that it cannot be hidden.
ALONE = f"""
import lightning, torch  # which look for what is installed in ways of their own
import sys
from importlib.machinery import PathFinder
find, hidden = PathFinder.find_spec, set({OTHERS}) - set(sys.modules) - {{"omegaconf"}}
PathFinder.find_spec = lambda name, *given: None if name.partition(".")[0] in hidden else find(name, *given)
from benchmarks.gpu import main
main(sys.argv[1:])
"""


def test_it_needs_torch_lightning_and_numpy_alone(tmp_path):
    arguments = [sys.executable, "-c", ALONE, "--small", "--out", tmp_path / "gpu.json"]
    done = subprocess.run(
        arguments, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "gpu.json").read_text())
    # Lightning and torch have loaded some of them, where they are, before they are hidden.
    assert {"gymnasium", "minari", "mujoco", "metaworld", "safetensors", "jsonargparse"} <= set(results["missing"])
    assert set(results["missing"]) <= set(OTHERS)
    rows = {row["row"]: row for row in results["rows"]}
    assert not [row for row in rows.values() if "why" in row], rows
    for name in (
        "agreement with the CPU, small, 32-true",
        "agreement with the CPU, small, bf16-true",
        "resume after 5 of 10 updates",
    ):
        assert rows[name]["holds"]
        assert f"| {name} |" in done.stdout
    assert 0 < rows["training, small"]["share"] < 1
    assert results["device"] in done.stdout
