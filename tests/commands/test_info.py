import subprocess
from importlib.metadata import version

import pytest

from pdt_lightning import info
from tests.processes import command


def test_it_tells_what_a_bug_report_needs(point_data):
    lines = dict(line.split("  ", 1) for line in command("info", bare=True).stdout.splitlines())
    told = {name.strip(): text.strip() for name, text in lines.items()}
    assert told["torch"] == version("torch")
    assert told["pdt-lightning"] == version("pdt-lightning")
    assert "avx512_bf16" in told["cpu features"]
    for name in info.RENDERERS:
        assert told[f"MUJOCO_GL={name}"].startswith(("works", "does not work"))
    count = int(told["datasets"].split(": ")[1].split()[0])
    assert count >= 13 + 3  # of the point family
    assert ".pdt-lightning" in told["cache"]
    assert "MINARI_DATASETS_PATH=" in told["variables"]


def test_what_is_missing_or_broken_is_said(monkeypatch):
    assert info.installed("no-such-package") == "not installed"

    def gone():
        raise ModuleNotFoundError("No module named 'torch'")

    def broken():
        raise OSError("libGL.so is not what it was")

    assert info.safely(gone) == "not installed"
    assert info.safely(broken) == "OSError: libGL.so is not what it was"


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("print('drawn')", "works"),
        ("print('black')", "does not work: exit code 0"),
        ("raise ImportError('no EGL here')", "does not work: ImportError: no EGL here"),
        ("import os; os.abort()", "does not work: exit code -6"),
        ("import time; time.sleep(60)", "does not work: nothing within 1 s"),
    ],
)
def test_a_renderer_may_fail_in_any_way(monkeypatch, code, answer):
    monkeypatch.setattr(info, "DRAW", code)
    monkeypatch.setattr(info, "LIMIT", 1.0 if "sleep" in code else 30.0)
    assert info.renderer("egl") == answer


def test_nothing_set_is_said(monkeypatch, capsys):
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 1, "", "RuntimeError: no"))
    for name in info.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    info.main()
    assert "none set" in capsys.readouterr().out
