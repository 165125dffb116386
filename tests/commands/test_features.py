"""Lightning's features, switched on in a run.

Held together are updates made and asked for, phases run and expected, weights judged and saved.
"""

import functools
import json
import shutil

import lightning
import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint

from pdt_lightning.model.checkpoints import read
from tests.witness import run


def callback(name, **options):
    """The flag that adds a callback of Lightning's, in a list of its own."""
    return f"--trainer.callbacks={json.dumps([{'class_path': name, 'init_args': options}])}"


def equal_weights(one, other):
    """Whether two runs ended with the same weights, to the bit."""
    mine, others = (seen.saved["state_dict"] for seen in (one, other))
    return all(torch.equal(values, others[name]) for name, values in mine.items())


ENDS = [(4, 0), (8, 1), (12, 2)]  # (update, epoch) of the validations of a run of three epochs of four updates
STOPS = callback("EarlyStopping", monitor="val/action_error", stopping_threshold=1e9)
# Flags; updates made; validations; (number, epoch) of the phases.
FEATURES = {
    "nothing": ([], 12, ENDS, [0, 1, 2]),
    "no validation": (["--trainer.limit_val_batches=0"], 12, [], [0, 1, 2]),
    "few validations": (["--trainer.check_val_every_n_epoch=2"], 12, [(8, 1)], [0, 1, 2]),
    "few phases": (["--trainer.check_val_every_n_epoch=2", "--tuning.every_n_epochs=3"], 12, [(8, 1)], [2]),
    "many validations": (["--trainer.val_check_interval=2", "--trainer.max_epochs=1"], 4, [(2, 0), (4, 0)], [0]),
    "validations across epochs": (
        ["--trainer.check_val_every_n_epoch=null", "--trainer.val_check_interval=3"],
        12,
        [(3, 0), (6, 1), (9, 2), (12, 2)],
        [0, 1, 2],
    ),
    "a part of each epoch": (["--trainer.limit_train_batches=3"], 9, [(3, 0), (6, 1), (9, 2)], [0, 1, 2]),
    "accumulated gradients": (["--trainer.accumulate_grad_batches=2"], 12, ENDS, [0, 1, 2]),
    "an end in mid-epoch": (["--trainer.max_steps=6", "--trainer.max_epochs=-1"], 6, [(4, 0)], [0, 1]),
    "no time": (["--trainer.max_time=00:00:00:00"], 0, [], []),
    "early stopping": ([STOPS], 4, [(4, 0)], [0]),
    "early stopping in mid-epoch": ([STOPS, "--trainer.val_check_interval=2"], 2, [(2, 0)], [0]),
    "stopping by a phase": (
        [callback("EarlyStopping", monitor="tuning/tuned_return", mode="max", patience=9), "--tuning.every_n_epochs=2"],
        12,
        ENDS,
        [1, 2],
    ),
    "averaged weights": ([callback("EMAWeightAveraging", decay=0.5)], 12, ENDS, [0, 1, 2]),
    "stochastic averages": ([callback("StochasticWeightAveraging", swa_lrs=1e-3)], 12, ENDS, [0, 1, 2]),
    "a summary": (["--trainer.callbacks=RichModelSummary"], 12, ENDS, [0, 1, 2]),
    "a bar": ([callback("TQDMProgressBar")], 12, ENDS, [0, 1, 2]),
    "a profiler": (["--trainer.profiler=simple"], 12, ENDS, [0, 1, 2]),
    "anomalies": (["--trainer.detect_anomaly=true"], 12, ENDS, [0, 1, 2]),
    "double precision": (["--trainer.precision=64-true"], 12, ENDS, [0, 1, 2]),
    "clipped values": (
        ["--trainer.gradient_clip_val=0.1", "--trainer.gradient_clip_algorithm=value"],
        12,
        ENDS,
        [0, 1, 2],
    ),
    "new loaders": (["--trainer.reload_dataloaders_every_n_epochs=1"], 12, ENDS, [0, 1, 2]),
    "few logged": (["--trainer.log_every_n_steps=0"], 12, ENDS, [0, 1, 2]),
}


@pytest.fixture(autouse=True)
def collected(point_data):
    """Demonstrations that all runs share."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Whole runs, by their flags."""
    with pytest.MonkeyPatch.context() as patch:
        yield functools.cache(lambda *flags: run(patch, tmp_path_factory.mktemp("whole"), *flags))


@pytest.mark.parametrize("feature", FEATURES)
def test_what_was_asked_for_is_done_and_what_was_judged_is_saved(monkeypatch, tmp_path, feature):
    flags, updates, validations, phases = FEATURES[feature]
    seen = run(monkeypatch, tmp_path, *flags)
    assert seen.code == 0
    assert seen.cli.trainer.global_step == len(seen.updates) == updates
    assert seen.validations == validations
    if not updates:
        return
    assert seen.phases == list(enumerate(phases))
    assert seen.saved["global_step"] == updates
    assert seen.judged_is_saved
    assert json.loads((seen.folder / "summary.json").read_text())["final"]
    assert yaml.safe_load((seen.folder / "config.yaml").read_text())["name"] == "run"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trainer.barebones=true"], "--trainer.profiler=simple"),
        (["--trainer.enable_checkpointing=false", callback("ModelCheckpoint")], "Leave one out"),
        (
            [f"--trainer.callbacks={json.dumps([{'class_path': 'ModelCheckpoint'}] * 2)}"],
            "more than one stateful callback",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_a_way_out(monkeypatch, tmp_path, capsys, flags, message):
    assert run(monkeypatch, tmp_path, *flags).code == 2
    assert message in capsys.readouterr().err


LONGER = {  # how a run ends before its end
    "max_steps": ["--trainer.max_steps=6", "--trainer.max_epochs=-1"],
    "max_steps at an epoch's end": ["--trainer.max_steps=8", "--trainer.max_epochs=-1"],
    "max_epochs": ["--trainer.max_epochs=2"],
    "early stopping": [STOPS],
    "early stopping in mid-epoch": [STOPS, "--trainer.val_check_interval=2"],
}


@pytest.mark.parametrize("more", [[], ["--trainer.limit_val_batches=0"]], ids=["validated", "not"])
@pytest.mark.parametrize("end", LONGER)
def test_a_run_that_ended_goes_on_as_if_it_had_not(uninterrupted, monkeypatch, tmp_path, capsys, end, more):
    if more and end.startswith("early"):
        pytest.skip("there is no validation to stop by")
    whole = uninterrupted(*more)
    first = run(monkeypatch, tmp_path / "parts", *LONGER[end], *more)
    update = first.saved["global_step"]
    second = run(monkeypatch, tmp_path / "parts", *more, "--ckpt_path=last")
    assert second.code == 0
    assert "Nothing was left" not in capsys.readouterr().out
    assert first.updates + second.updates == whole.updates
    assert set(second.validations) == {(n, epoch) for n, epoch in whole.validations if n > update}
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.saved["state_dict"].values(), second.saved["state_dict"].values(), strict=True)
    )
    assert second.judged_is_saved


@pytest.mark.parametrize("where", ["training", "validation", "epoch"])
@pytest.mark.parametrize(
    "feature", ["few validations", "many validations", "accumulated gradients", "a part of each epoch"]
)
def test_a_run_that_was_killed_goes_on_as_if_it_had_not(uninterrupted, monkeypatch, tmp_path, feature, where):
    flags, updates, validations, phases = FEATURES[feature]
    whole = uninterrupted(*flags)
    moment = {"training": updates - 1, "validation": validations[-1][0], "epoch": updates}[where]
    first = run(monkeypatch, tmp_path / "parts", *flags, kill=(where, moment))
    assert first.code == "killed"
    start = first.saved["global_step"]
    second = run(monkeypatch, tmp_path / "parts", *flags, "--ckpt_path=last")
    assert second.updates == whole.updates[start:]
    assert sorted({*first.validations, *second.validations}) == validations
    assert second.phases == list(enumerate(phases))
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.saved["state_dict"].values(), second.saved["state_dict"].values(), strict=True)
    )


def test_early_stopping_judges_the_epoch_after_which_a_run_goes_on(monkeypatch, tmp_path):
    patient = callback("EarlyStopping", monitor="val/action_error", patience=5)
    run(monkeypatch, tmp_path, patient, "--trainer.max_epochs=1")
    second = run(monkeypatch, tmp_path, patient, "--ckpt_path=last")
    assert second.code == 0
    assert len(second.updates) == 8


def test_overfitting_sees_the_same_batch_again_and_again(monkeypatch, tmp_path):
    seen = run(monkeypatch, tmp_path, "--trainer.overfit_batches=2")
    digests = [digest for _, _, digest in seen.updates]
    assert len(digests) == 6
    assert digests[:2] == digests[2:4] == digests[4:]
    assert digests[0] != digests[1]


def test_a_dry_run_names_no_file_that_is_not_there(monkeypatch, tmp_path, capsys):
    seen = run(monkeypatch, tmp_path, "--trainer.fast_dev_run=2")
    assert seen.code == 0
    said = capsys.readouterr().out
    assert "last.ckpt" not in said
    for name in ("checkpoints", "videos"):
        assert f"{name}/" not in said or (seen.folder / name).is_dir()


def test_a_run_without_checkpoints_leaves_the_rest(monkeypatch, tmp_path, capsys):
    seen = run(monkeypatch, tmp_path, "--trainer.enable_checkpointing=false", "--trainer.max_epochs=1")
    assert seen.code == 0
    assert not (seen.folder / "checkpoints").exists()
    assert "last.ckpt" not in capsys.readouterr().out
    assert (seen.folder / "summary.json").is_file()


def test_checkpoints_of_the_users_lie_beside_ours(monkeypatch, tmp_path):
    seen = run(monkeypatch, tmp_path, callback("ModelCheckpoint", monitor="val/action_error", save_top_k=3))
    names = {path.name for path in (seen.folder / "checkpoints").iterdir()}
    assert {"best.ckpt", "last.ckpt"} < names
    assert len(names) == 5


def test_a_checkpoint_is_kept_by_a_number_of_a_phase_where_there_was_one(monkeypatch, tmp_path):
    keep = callback("ModelCheckpoint", monitor="tuning/tuned_return", mode="max", save_top_k=-1, filename="{epoch}")
    seen = run(monkeypatch, tmp_path, keep, "--tuning.every_n_epochs=2")
    names = {path.name for path in (seen.folder / "checkpoints").iterdir()}
    assert names == {"best.ckpt", "last.ckpt", "epoch=1.ckpt", "epoch=2.ckpt"}


def test_the_learning_rate_that_was_found_is_used_and_kept(monkeypatch, tmp_path):
    flags = [callback("LearningRateFinder", num_training_steps=20), "--data.updates_per_epoch=30"]
    first = run(monkeypatch, tmp_path, *flags, "--trainer.max_epochs=1")
    saved = first.saved
    rate = saved["hyper_parameters"]["learning_rate"]
    assert rate != 1e-4
    assert (
        saved["optimizer_states"][0]["param_groups"][0]["initial_lr"]
        == rate
        == saved["lr_schedulers"][0]["base_lrs"][0]
    )
    assert yaml.safe_load((first.folder / "config.yaml").read_text())["model"]["learning_rate"] == rate
    second = run(monkeypatch, tmp_path, *flags, "--trainer.max_epochs=2", "--ckpt_path=last")
    assert second.code == 0
    assert len(second.updates) == 30
    assert second.saved["optimizer_states"][0]["param_groups"][0]["initial_lr"] == rate
    assert second.saved["hyper_parameters"]["learning_rate"] == rate


def test_a_run_that_was_moved_knows_its_best_checkpoint(monkeypatch, tmp_path):
    first = run(monkeypatch, tmp_path / "here", "--trainer.max_epochs=1")
    best = next(
        state["best_model_score"] for name, state in first.saved["callbacks"].items() if name.startswith("Best")
    )
    shutil.move(tmp_path / "here", tmp_path / "there")
    second = run(monkeypatch, tmp_path / "there", "--trainer.max_epochs=2", "--ckpt_path=last")
    state = next(state for name, state in second.saved["callbacks"].items() if name.startswith("Best"))
    assert state["best_model_score"] <= best
    assert state["best_model_path"] == str(second.folder / "checkpoints" / "best.ckpt")
    assert set(state["best_k_models"]) == {state["best_model_path"]}


@pytest.mark.parametrize("limit", ["--trainer.max_epochs=1", "--trainer.max_steps=2", "--trainer.max_time=00:00:00:01"])
def test_a_run_with_nothing_left_to_train_says_so(monkeypatch, tmp_path, capsys, limit):
    flags = [limit, *(["--trainer.max_epochs=-1", "--data.updates_per_epoch=1000000"] if "time" in limit else [])]
    run(monkeypatch, tmp_path, *flags)
    capsys.readouterr()
    second = run(monkeypatch, tmp_path, *flags, "--ckpt_path=last")
    assert second.code == 0
    assert "Nothing was left to train" in capsys.readouterr().out
    assert second.updates == []


class Holds(lightning.Callback):
    """Keeps something in its state."""

    def __init__(self, value):
        self.value = value

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def test_numbers_of_numpy_in_a_callback_of_the_users_are_read(monkeypatch, tmp_path):
    values = [np.float64(1.5), np.int32(3), np.arange(3.0), np.bool_(True)]
    run(monkeypatch, tmp_path, "--trainer.max_epochs=1", callbacks=[Holds(values)])
    other = Holds(None)
    second = run(monkeypatch, tmp_path, "--trainer.max_epochs=2", "--ckpt_path=last", callbacks=[other])
    assert second.code == 0
    assert len(other.value) == len(values)
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(other.value, values, strict=True))


def test_what_is_no_plain_value_is_named(monkeypatch, tmp_path, capsys):
    run(monkeypatch, tmp_path, "--trainer.max_epochs=1", callbacks=[Holds(Holds)])
    assert run(monkeypatch, tmp_path, "--ckpt_path=last", callbacks=[Holds(None)]).code == 2
    assert "tests.commands.test_features.Holds" in capsys.readouterr().err


def test_a_checkpoint_of_ours_is_a_class_of_its_own():
    """Lightning takes callbacks for one and the same by what this is made of."""
    from pdt_lightning.callbacks.interruption import Best

    assert Best(".").state_key != ModelCheckpoint(monitor="val/action_error").state_key
    assert callable(read)
