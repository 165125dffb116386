"""The folder of wheels for a machine without network; what pip would download is put there by the test."""

import subprocess
from pathlib import Path

import pytest

from benchmarks import wheels


@pytest.fixture
def pip(monkeypatch):
    """Commands that were run."""
    commands = []

    def run(command, check):
        commands.append(command)
        folder = Path(next(word for word in command if word.startswith("--dest=")).removeprefix("--dest="))
        for name in ("mujoco-3.3.0-cp312-x", "numpy-2.4.0-cp312-x", "torch-2.13.0-cp312-x"):
            (folder / f"{name}.whl").write_bytes(b"1234")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def test_it_holds_what_is_wanted_without_what_is_there(tmp_path, pip, capsys):
    wheels.main([str(tmp_path / "new"), "--wanted", "mujoco"])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mujoco-3.3.0-cp312-x.whl"]
    assert {"--python-version=3.12", "--only-binary=:all:", f"--constraint={wheels.CONSTRAINTS}"} <= set(pip[0])
    assert "--no-index --no-deps" in capsys.readouterr().out
    assert wheels.CONSTRAINTS.is_file()


def test_what_is_too_much_to_carry_is_refused(tmp_path, pip, capsys, monkeypatch):
    monkeypatch.setattr(wheels, "LIMIT", 3)
    with pytest.raises(SystemExit):
        wheels.main([str(tmp_path)])
    assert "leave some out with --wanted" in capsys.readouterr().err
