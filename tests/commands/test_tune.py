"""Tuning a frozen checkpoint: what is played is kept, so that a search goes on after a stop, or with more rounds."""

import csv
import json

import pytest

from pdt_lightning import tune
from pdt_lightning.core.signals import StopRequest
from pdt_lightning.rollouts.pool import RolloutPool
from tests.processes import command


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    home = tmp_path_factory.mktemp("runs")
    flags = [f"--trainer.default_root_dir={home}", "--name=p", "--trainer.logger=false"]
    command("fit", "--config=conf/point.yaml", "--config=conf/debug.yaml", *flags)
    return home / "p" / "version_0" / "checkpoints" / "last.ckpt"


@pytest.fixture
def played(monkeypatch):
    """Numbers of rows that were really played, block by block."""
    blocks, with_policy = [], RolloutPool.with_policy

    def counting(self, policy, on_played=None):
        def told(rows, outcomes):
            blocks.append(len(rows))
            if on_played:
                on_played(rows, outcomes)

        return with_policy(self, policy, told)

    monkeypatch.setattr(RolloutPool, "with_policy", counting)
    return blocks


def tuned(checkpoint, out, rounds=16):
    sizes = ["--yardstick_episodes=2", "--verdict_episodes=3", "--tuner_options.tolerance=0", "--parallel=1"]
    tune.main([f"--ckpt_path={checkpoint}", f"--rounds={rounds}", f"--out={out}", "--tasks=[point/03]", *sizes])
    with (out / "tuning.csv").open() as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((out / "summary.json").read_text()), (out / "prompts/point/03.safetensors").read_bytes()


def test_stopped_and_called_again_it_finds_the_same_and_plays_only_what_is_left(
    checkpoint, tmp_path, played, monkeypatch, capsys
):
    whole = tuned(checkpoint, tmp_path / "whole")
    total = sum(played)
    played.clear()
    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "heard", property(lambda self: sum(played) > 8))
        with pytest.raises(SystemExit) as stopped:
            tuned(checkpoint, tmp_path / "part")
    assert stopped.value.code == 128 + 15
    said = capsys.readouterr().out
    assert "Stopped in tuning, of which all 9 rollouts so far are kept. Go on:" in said
    assert f"python -m pdt_lightning.tune --ckpt_path={checkpoint}" in said
    assert tuned(checkpoint, tmp_path / "part") == whole
    assert sum(played) == total


def test_more_rounds_go_on_from_what_was_played(checkpoint, tmp_path, played):
    few, *_ = tuned(checkpoint, tmp_path, 16)
    first = sum(played)
    played.clear()
    more, summary, _ = tuned(checkpoint, tmp_path, 32)
    explored = 16 - 16 // 4  # the others tried finalists again
    assert [row["prompt"] for row in more[:explored]] == [row["prompt"] for row in few[:explored]]
    assert summary["tasks"]["point/03"]["rollouts"] == len(more) == 32
    assert sum(played) <= 2 + 32 + 6 - explored - 2 - 3  # untuned episodes are not played again either
    assert sum(played) < first + 16
