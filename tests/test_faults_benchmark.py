"""The scripts of `benchmarks/faults` run, at small size."""

import subprocess
import time

import numpy as np
import pytest

from benchmarks.faults import disks, job, kills, rollouts, smoke
from pdt_lightning import export
from tests.processes import ROOT


def test_tuning_with_a_simulator_that_goes_wrong_ends_as_with_a_clean_one(point_data, monkeypatch, capsys):
    monkeypatch.setattr(rollouts, "SHARES", {"raises": 0.1, "nan": 0.1})  # of this process, in which all is played
    assert rollouts.main(["--episodes=1", "--workers=0", "--width=8", "--parallel=4"])
    assert "recommended prompts equal: True; all outcomes equal: True" in capsys.readouterr().out


def test_the_run_that_is_to_be_killed_leaves_what_is_compared(point_data, tmp_path, monkeypatch):
    short = ["--trainer.max_epochs=1", "--data.updates_per_epoch=4", "--tuning.rounds=2", "--tuning.verdict_episodes=2"]
    monkeypatch.setattr(job, "FLAGS", (*job.FLAGS, *short, "--tuning.oracle_candidates=0"))
    process = job.start(tmp_path, 1, log=tmp_path / "said.txt")
    until = time.monotonic() + 60
    while not job.members(process):
        assert time.monotonic() < until
    assert job.members(process) == [process.pid]
    assert process.wait(120) == 0, (tmp_path / "said.txt").read_text()
    assert {"03.safetensors", "07.safetensors"} <= set(job.left(tmp_path)["prompts"])
    assert job.members(process) == []


class Stub:
    """A run that hangs, or one that ends at once."""

    pid = -1

    def __init__(self, hangs):
        self.returncode, self.hangs = 0, hangs

    def wait(self, seconds=None):
        if self.hangs and seconds is not None:
            raise subprocess.TimeoutExpired("fit", seconds)
        return 0


@pytest.mark.parametrize("hangs", [False, True])
def test_a_run_that_hangs_is_counted_and_left(tmp_path, monkeypatch, hangs):
    (tmp_path / "said.txt").write_text("from last.ckpt, after update 60 in epoch 0\n" * 2)
    monkeypatch.setattr(kills, "start", lambda *args, **kwargs: Stub(hangs))
    monkeypatch.setattr(kills, "kill", lambda process: None)
    counted = kills.killed_run(tmp_path, 1, 1.0, np.random.default_rng(0))
    assert (counted["hung"], counted["failed"], counted["killed"]) == ((1, 1, kills.MOST) if hangs else (0, 0, 0))
    assert counted["went on"] == (0 if hangs else 1)


def may_mount():
    """Whether this system lets its users mount file systems of their own."""
    try:
        return not subprocess.run([*disks.NAMESPACE, "mount -t tmpfs tmpfs /mnt"], capture_output=True).returncode
    except OSError:
        return False


@pytest.mark.skipif(not may_mount(), reason="no file system of one's own can be mounted here")
def test_a_full_disk_ends_a_command_in_one_message_and_with_room_it_goes_on(tmp_path):
    model = f"--ckpt_path={ROOT / 'models' / 'pdt_lightning_models' / 'point'}"
    write = disks.Write("export", ("export", model, "--out={disk}/out"))
    export.main([model, f"--out={tmp_path / 'whole' / 'out'}"])
    for name in ("earlier", "place"):
        (tmp_path / name).mkdir()
    (tmp_path / "earlier" / "result").write_text("of an earlier run")
    whole = disks.contents(tmp_path / "whole")
    assert "out/model.safetensors" in disks.found(whole)
    assert disks.wrong(write, tmp_path, tmp_path / "earlier", tmp_path / "place", 128 * 2**10, whole) == []


@pytest.mark.parametrize("hangs", [False, True])
def test_short_runs_are_counted(monkeypatch, capsys, hangs):
    monkeypatch.setattr(smoke, "start", lambda folder, *args, log: log.touch() or Stub(hangs))
    monkeypatch.setattr(smoke, "kill", lambda process: None)
    monkeypatch.setattr(smoke, "left", lambda folder: {"weights": {"one": b"1"}})
    assert smoke.main(["--runs=2"]) is not hangs
    assert ("'hung': 2" if hangs else "'exit code 0, weights ") in capsys.readouterr().out
