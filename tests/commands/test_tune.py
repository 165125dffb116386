"""Tuning a frozen checkpoint: what is played is kept, so that a search goes on after a stop, or with more rounds."""

import csv
import json

import pytest

from pdt_lightning import tune
from pdt_lightning.core.signals import StopRequest
from pdt_lightning.rollouts.pool import RolloutPool
from tests.processes import command, ranks


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
    assert "Stopped in tuning, of which all rollouts so far are kept. Go on:" in said
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


def journaled(folder):
    """How many rollouts each rank's journal has."""
    return [sum(map(bool, path.read_text().splitlines())) for path in sorted(folder.glob("journal/*.jsonl"))]


def left(folder):
    """What a command leaves that may not depend on who played, and what was played by each rank."""
    files = [*folder.glob("prompts/**/*.safetensors"), folder / "tuning.csv"]
    summary = json.loads((folder / "summary.json").read_text())
    return {path.relative_to(folder): path.read_bytes() for path in files}, summary, journaled(folder)


SHARED = ["--tasks=[point/03,point/07]", "--rounds=8", "--parallel=6", "--oracle=true", "--yardstick_episodes=3"]
SHARED += ["--verdict_episodes=5", "--oracle_candidates=4", "--oracle_episodes=1"]


@pytest.fixture(scope="module")
def alone(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    command("tune", f"--ckpt_path={checkpoint}", *SHARED, f"--out={folder}")
    return left(folder)


@pytest.mark.parametrize("number", [3, 5])
def test_ranks_share_tasks_and_rollouts_and_find_the_same(checkpoint, alone, tmp_path, number):
    """Two tasks, so that some ranks have none; started again, one rank finds what all have played."""
    flags = [f"--ckpt_path={checkpoint}", *SHARED, f"--out={tmp_path}"]
    said = ranks(number, *flags, module="tune")
    found = left(tmp_path)
    assert found[:2] == alone[:2]
    assert len(alone[2]) == 1
    assert len(found[2]) == number
    assert sum(found[2]) == sum(alone[2])
    assert min(found[2]) > 0.7 * sum(found[2]) / number
    assert ["Written to" in of_rank.stdout for of_rank in said] == [True] + [False] * (number - 1)
    again = command("tune", *flags)
    assert "Written to" in again.stdout
    assert left(tmp_path) == found


DIES = """
import os
import signal

from pdt_lightning.tuners.random_search import RandomSearch


class Dies(RandomSearch):
    def _propose(self, n):
        if os.environ["RANK"] == "1" and self.asked:
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._propose(n)
"""


def test_where_a_rank_dies_the_others_say_so_and_the_same_command_goes_on(checkpoint, tmp_path):
    (tmp_path / "mortal.py").write_text(DIES)
    flags = [f"--ckpt_path={checkpoint}", "--tasks=[point/03,point/07]", "--rounds=8", "--verdict_episodes=2"]
    flags += ["--yardstick_episodes=2", "--tuner=mortal.Dies", f"--out={tmp_path / 'out'}"]
    survivor, dead = ranks(2, *flags, module="tune", check=False, PYTHONPATH=str(tmp_path))
    assert dead.returncode == -9
    assert survivor.returncode == 1
    assert "error: rank 0 cannot reach another rank, which has most likely ended" in survivor.stderr
    assert "Traceback" not in survivor.stderr
    kept = journaled(tmp_path / "out")
    assert min(kept) >= 2
    command("tune", *flags, PYTHONPATH=str(tmp_path), RANK="0")
    assert journaled(tmp_path / "out")[1] == kept[1]  # what the dead one played is found again
    assert "point/07" in json.loads((tmp_path / "out" / "summary.json").read_text())["tasks"]
