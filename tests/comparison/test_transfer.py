"""Transfer of prompts: the overlap of activations by hand, the matrix against single rollouts, and the command."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch

from pdt_lightning import transfer
from pdt_lightning.comparison.transfer import active_units, correlation, cosines, opened, overlaps_of
from pdt_lightning.comparison.transfer_report import markdown, table
from pdt_lightning.core.seeding import integer
from pdt_lightning.core.signals import StopRequest
from pdt_lightning.data.segments import Prompt
from pdt_lightning.data.windows import Steps
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.rollouts.rollout import Row
from tests.conftest import POINT_FLAGS, untrained
from tests.once import once
from tests.processes import command


@pytest.fixture(scope="module")
def runs(tmp_path_factory, point_data):
    """Two short runs, with prompts of two slots, and one with prompts of one."""

    def make(folder):
        for seed, more in enumerate(([], [], ["--data.segments=1"])):
            flags = [f"--trainer.default_root_dir={folder}", "--trainer.max_epochs=1", "--name=p", "--tuning.rounds=2"]
            command("fit", *POINT_FLAGS, *flags, f"--seed={seed}", *more)

    folder = once(tmp_path_factory, "transferred", make)
    return [folder / "p" / f"version_{number}" for number in range(3)]


def checkpoints(runs):
    return [str(run / "checkpoints" / "last.ckpt") for run in runs]


def moved(runs, out, *more):
    transfer.main(["--ckpt_path", *checkpoints(runs), "--episodes=3", "--out", str(out), *more])
    with (out / "transfer.csv").open() as file:
        return list(csv.DictReader(file)), json.loads((out / "summary.json").read_text())


@pytest.fixture
def prompts(point_data):
    segments = point_data.segments("point/03")
    return [segments.gather(np.array([[n, 7 * n]])) for n in range(4)]


def test_cosines_of_what_is_active_by_hand():
    active = np.array([[1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 0]], bool)
    found = cosines(active)
    assert found[0, 1] == pytest.approx(1 / np.sqrt(2 * 3))
    assert found[1, 1] == pytest.approx(1.0)
    assert found[2].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("attention", ["window", "published"])
def test_active_units_are_those_of_a_plain_pass_behind_the_prompt(point_data, prompts, attention):
    """The blocks one after the other, on the prompt and the two tokens of an empty step that come before its action."""
    torch.manual_seed(3)
    model = untrained(point_data, attention=attention).model
    with torch.no_grad():
        for parameter in model.transformer.parameters():  # as spread as trained ones, so that prompts differ
            parameter.add_(0.3 * torch.randn_like(parameter))
    found = active_units(Policy(model, 5), prompts)
    assert found.shape == (4, 32)
    assert found.any()
    assert not found.all()
    for number, prompt in enumerate(prompts):
        zero = torch.zeros(1, 1, dtype=torch.int64)
        parts = (torch.zeros(1, 1, 1), model.state_mean[None, None], model.action_mid[None, None])
        with torch.inference_mode():
            before, _ = model.tokens(model.embed_prompt, prompt)
            after, _ = model.tokens(model.embed_context, Steps(*parts, zero, zero == 0))
            x = torch.cat([before, model.norm_context(after)[:, :2]], dim=1)
            forbidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            for block in model.transformer.blocks:
                query, key, value = block.before(block.norm_attention(x))
                scores = (query @ key.transpose(-1, -2)).masked_fill(forbidden, float("-inf"))
                attended = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
                x = x + block.project(attended)
                inner = block.expand(block.norm_perceptron(x))
                x = x + block.contract(inner.relu())
        assert np.array_equal(found[number], (inner[0, -1] > 0).numpy())
    overlaps = overlaps_of(Policy(model, 5), prompts)
    assert np.allclose(np.diag(overlaps), 1.0)
    assert overlaps.min() < 1


def test_a_transformer_of_other_blocks_has_no_overlap(point_data, prompts, monkeypatch):
    policy = Policy(untrained(point_data).model, 5)
    monkeypatch.setattr(type(policy.model), "folded", lambda self: None)
    assert overlaps_of(policy, prompts) is None


def pair(of, task, overlap, better):
    return {
        "from_checkpoint": 0, "prompt_of": of, "checkpoint": 0, "task": task, "overlap": overlap, "transfer": better,
    }  # fmt: skip


def test_correlation_by_hand():
    """Of task a in the same order; of task b, with squared differences of ranks 0, 1 and 1, a half."""
    rows = [pair("a", "a", 1.0, 0.0), pair("b", "a", 0.1, -9), pair("c", "a", 0.2, -2), pair("d", "a", 0.3, -1)]
    rows += [pair("b", "b", 1.0, 0.0), pair("a", "b", 0.1, -9), pair("c", "b", 0.3, -2), pair("d", "b", 0.2, -1)]
    rows += [pair("a", "c", 0.1, -1), pair("b", "c", 0.2, -1), pair("d", "c", 0.3, -1)]  # all alike
    rows += [pair("random", "a", None, 5.0)]
    found = correlation(rows)
    assert (found["mean"], found["tasks"], found["pairs"]) == (pytest.approx(0.75), 2, 6)
    assert found["low"] < 0.75 < found["high"]
    assert correlation(rows[-4:]) == {"mean": None, "low": None, "high": None, "tasks": 0, "pairs": 0}


def test_the_matrix_is_what_single_rollouts_say(runs, tmp_path, capsys):
    rows, summary = moved(runs[:2], tmp_path)
    assert len(rows) == 6 * (6 + 1)
    pairs = {(row["from_checkpoint"], row["prompt_of"], row["checkpoint"], row["task"]): row for row in rows}
    prompt, _ = Prompt.load_with_origin(runs[1] / "prompts" / "point" / "07.safetensors")
    place = opened(checkpoints(runs)[0], runs[0] / "prompts", None, "32-true", None, None)
    task = next(subject.task for subject in place.subjects if subject.task.id == "point/11")
    play = RolloutPool(0, 8).with_policy(place.policy)
    outcomes = play([Row(task, prompt, integer(0, "transfer", "point/11", n)) for n in range(3)])
    row, own = pairs["1", "point/07", "0", "point/11"], pairs["0", "point/11", "0", "point/11"]
    assert float(row["return"]) == pytest.approx(np.mean([outcome.total for outcome in outcomes]))
    assert float(row["success"]) == pytest.approx(np.mean([outcome.success for outcome in outcomes]))
    assert float(row["transfer"]) == pytest.approx(float(row["success"]) - float(own["success"]))
    assert (float(own["transfer"]), float(own["overlap"])) == (0.0, pytest.approx(1.0))
    assert row["episodes"] == "3"
    assert pairs["0", "random", "0", "point/11"]["overlap"] == ""
    matrix = table(summary["pairs"])
    assert [len(matrix), len(matrix[0])] == [7, 6]
    assert matrix[4][2] == summary["pairs"][2 * 7 + 4]
    assert {cell["task"] for cell in (line[2] for line in matrix)} == {"point/11"}
    assert (matrix[4][2]["from_checkpoint"], matrix[4][2]["prompt_of"]) == (1, "point/07")
    text = (tmp_path / "summary.md").read_text()
    assert text == markdown(summary["pairs"], summary["checkpoints"], summary["correlation"], summary["command"])
    assert text.count("| 1: point/07 |") == 2
    assert "Checkpoint 1 is" in text
    for name in ("transfer", "overlap"):
        assert (tmp_path / "figures" / f"{name}.png").stat().st_size > 5000
    assert "verlap of activations" in capsys.readouterr().out


def test_stopped_it_goes_on_and_a_prompt_may_come_from_another_folder(runs, tmp_path, monkeypatch, capsys):
    shutil.copytree(runs[0] / "prompts", tmp_path / "mine")
    flags = ["--prompts", str(tmp_path / "mine"), "--tasks=[point/03,point/11]"]
    played, with_policy = [], RolloutPool.with_policy

    def counting(self, policy, on_played):
        def told(rows, outcomes):
            played.extend(rows)
            on_played(rows, outcomes)

        return with_policy(self, policy, told)

    monkeypatch.setattr(RolloutPool, "with_policy", counting)
    whole = moved(runs[:1], tmp_path / "whole", *flags)
    assert len(played) == 2 * 3 * 3
    played.clear()
    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "heard", property(lambda self: len(played) >= 8))
        with pytest.raises(SystemExit) as stopped:
            moved(runs[:1], tmp_path / "part", *flags)
    assert stopped.value.code == 128 + 15
    assert "Go on:\npython -m pdt_lightning.transfer --ckpt_path" in capsys.readouterr().out
    rows, summary = moved(runs[:1], tmp_path / "part", *flags)
    assert rows == whole[0]
    assert summary["pairs"] == whole[1]["pairs"]
    assert len(played) == 2 * 3 * 3
    assert "Checkpoint" not in (tmp_path / "part" / "summary.md").read_text()


def test_an_exported_model_brings_its_prompts(runs, tmp_path):
    command("export", "--ckpt_path", checkpoints(runs)[0], "--out", tmp_path / "exported")
    flags = ["--episodes=2", "--tasks=[point/03]"]
    transfer.main(["--ckpt_path", str(tmp_path / "exported"), "--out", str(tmp_path / "a"), *flags])
    transfer.main(["--ckpt_path", checkpoints(runs)[0], "--out", str(tmp_path / "b"), *flags])
    assert (tmp_path / "a" / "transfer.csv").read_text() == (tmp_path / "b" / "transfer.csv").read_text()


@pytest.mark.parametrize(
    ("which", "flags", "words"),
    [
        ([0, 2], [], ("version_2", "of shape (1, 3, 1), not (1, 6, 1)")),
        ([0, 1], ["--prompts", "here"], ("--prompts names 1 folders", "--ckpt_path 2 checkpoints")),
        ([0], ["--prompts", "nowhere"], ("--prompts: nowhere", "is no folder")),
        ([0], ["--prompts", "."], ("--prompts=.", "no prompt of point/03", "--tasks")),
        ([0], ["--tasks=[point/99]"], ("--tasks", "point/99 is not a held-out task")),
        ([0], ["--episodes=0"], ("--episodes",)),
        ([], ["--ckpt_path", "none.ckpt"], ("--ckpt_path=none.ckpt", "there is no such file")),
    ],
)
def test_what_does_not_fit_is_named(runs, tmp_path, capsys, which, flags, words):
    paths = ["--ckpt_path", *(checkpoints(runs)[number] for number in which)] if which else []
    with pytest.raises(SystemExit) as end:
        transfer.main([*paths, *flags, "--out", str(tmp_path)])
    assert end.value.code == 2
    said = capsys.readouterr().err
    for word in words:
        assert word in said
