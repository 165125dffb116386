import csv
import json
import pickle

import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint, StochasticWeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pdt_lightning.callbacks import PromptTuning
from pdt_lightning.core.errors import UserError
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.data.segments import Prompt
from pdt_lightning.model import pdt
from pdt_lightning.model.checkpoints import load, read
from pdt_lightning.model.lit_pdt import LitPDT
from tests.conftest import POINT, SMALL

TUNING = {
    "rounds": 4,
    "parallel": 2,
    "yardstick_episodes": 2,
    "verdict_episodes": 3,
    "oracle_candidates": 4,
    "oracle_episodes": 1,
    "progress": False,
}


def run(folder, tuning, epochs=2, callbacks=(), data=POINT, fit=True, checkpoints=False, **options):
    module = LitPDT(2, 2, 30, context_steps=5, **SMALL)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=TensorBoardLogger(str(folder), name="run", version=0),
        enable_checkpointing=checkpoints,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        callbacks=[*([tuning] if tuning else []), *callbacks],
        **options,
    )
    (trainer.fit if fit else trainer.validate)(module, datamodule=MultiTaskDataModule(**data))
    return trainer, module


def rows(folder):
    with (folder / "run" / "version_0" / "tuning.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_all_it_promises(tmp_path):
    tuning = PromptTuning(every_n_epochs=1, **TUNING)
    trainer, _ = run(tmp_path, tuning)
    folder = tmp_path / "run" / "version_0"
    assert [(row["phase"], row["epoch"]) for row in rows(tmp_path)[:: 3 * 4]] == [("0", "0"), ("1", "1")]
    assert len(rows(tmp_path)) == 2 * 3 * 4
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["final"]
    assert set(summary["tasks"]) == {"point/03", "point/07", "point/11"}
    assert summary["aggregate"]["oracle"]["return"] is not None
    assert all(0 < own["prompt_sensitivity"] < 1 for own in summary["tasks"].values())
    assert Prompt.load(folder / "prompts" / "point" / "03.safetensors").states.shape == (1, 6, 2)
    for name in (
        "tuning/tuned_return",
        "tuning/untuned_success",
        "tuning/oracle_return",
        "tuning_tuned_return/point/03",
    ):
        assert name in trainer.callback_metrics
    assert float(trainer.callback_metrics["tuning/tuned_return"]) == pytest.approx(
        summary["aggregate"]["tuned"]["return"], abs=1e-5
    )
    curves = EventAccumulator(str(folder / "tuning" / "epoch_0001")).Reload()
    assert [event.step for event in curves.Scalars("round_recommended_value/point/07")] == [0, 1, 2, 3]


def test_phases_come_when_they_are_due_and_the_last_epoch_always_ends_with_one(tmp_path):
    for every, epochs, expected in ((2, 3, ["1", "2"]), (0, 3, ["2"]), (3, 3, ["2"])):
        folder = tmp_path / f"{every}-{epochs}"
        run(folder, PromptTuning(every_n_epochs=every, **TUNING), epochs)
        assert sorted({row["epoch"] for row in rows(folder)}) == expected


def test_validations_in_the_middle_of_an_epoch_are_not_followed_by_tuning(tmp_path):
    tuning = PromptTuning(every_n_epochs=1, **TUNING)
    run(tmp_path, tuning, epochs=2, val_check_interval=1)
    assert tuning.phases == 2
    assert tuning.final_update == 6


def test_tuning_leaves_the_training_as_it_was(tmp_path):
    with_tuning = run(tmp_path / "a", PromptTuning(tuner="published", **TUNING))[1]
    without = run(tmp_path / "b", None)[1]
    assert all(
        torch.equal(a, b) for a, b in zip(with_tuning.state_dict().values(), without.state_dict().values(), strict=True)
    )
    assert with_tuning.training == without.training
    assert all(parameter.requires_grad for parameter in with_tuning.model.parameters())


def test_a_run_that_ends_early_still_ends_with_a_phase(tmp_path):
    stop = EarlyStopping("val/action_error", stopping_threshold=1e9)
    tuning = PromptTuning(every_n_epochs=0, **TUNING)
    run(tmp_path, tuning, epochs=5, callbacks=[stop])
    assert {row["epoch"] for row in rows(tmp_path)} == {"0"}
    assert tuning.phases == 1
    assert json.loads((tmp_path / "run" / "version_0" / "summary.json").read_text())["final"]


def test_what_is_judged_at_an_unforeseen_end_is_what_is_saved(tmp_path):
    """Two epochs of three updates, validated every second epoch, stopped after the third.

    The checkpoint follows the verdict.
    """
    saves = ModelCheckpoint(
        tmp_path / "checkpoints", "last", enable_version_counter=False, save_on_train_epoch_end=False
    )
    run(tmp_path, PromptTuning(**TUNING), epochs=3, callbacks=[saves], check_val_every_n_epoch=2, checkpoints=True)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 9
    assert json.loads((tmp_path / "run" / "version_0" / "summary.json").read_text())["final"]


def test_without_held_out_tasks_it_stands_aside(tmp_path, point_data):
    training = [
        {"id": task.id, "training_data": list(task.training_data)} for task in point_data.family.training_tasks[:3]
    ]
    data = {**POINT, "family": "minari", "family_options": {"training": training, "held_out": []}}
    tuning = PromptTuning(**TUNING)
    run(tmp_path, tuning, epochs=1, data=data)
    assert tuning.phases == 0


def test_its_state_is_plain_and_is_taken_over(tmp_path):
    tuning = PromptTuning(every_n_epochs=1, **TUNING)
    run(tmp_path, tuning)
    torch.save(tuning.state_dict(), tmp_path / "state")
    state = torch.load(tmp_path / "state", weights_only=True)
    other = PromptTuning(**TUNING)
    other.load_state_dict(state)
    assert other.phases == 2
    assert other.state_dict()["final_update"] == 6
    assert state["options"]["rounds"] == 4
    assert pickle.loads(pickle.dumps(state)) == state


def test_a_phase_may_remember_what_the_one_before_found(tmp_path):
    found = {}
    for name, probability in (("afresh", 0.0), ("all", 1.0)):
        tuning = PromptTuning(remembered=probability, **TUNING)
        run(tmp_path / name, tuning)
        found[name] = [(row["phase"], row["task"], row["prompt"]) for row in rows(tmp_path / name)]
        told = {task: len(own) for task, own in tuning.memory.told.items()}
        assert told == {f"point/{goal}": 4 if probability else 0 for goal in ("03", "07", "11")}
        assert {len(own) for own in tuning.memory.found.values()} == {8 if probability else 4}
    afresh, remembering = found.values()
    assert [row for row in afresh if row[0] == "0"] == [row for row in remembering if row[0] == "0"]
    assert afresh != remembering


def test_a_phase_that_is_repeated_knows_what_it_knew(tmp_path):
    """An early stop tunes the same weights again, with the oracle: its rollouts come from the journal."""
    stop = EarlyStopping("val/action_error", stopping_threshold=1e9)
    tuning = PromptTuning(remembered=1.0, **TUNING)
    run(tmp_path, tuning, epochs=5, callbacks=[stop])
    assert tuning.phases == 1
    assert {len(own) for own in tuning.memory.found.values()} == {4}


def test_validate_runs_a_phase_under_inference_mode(tmp_path):
    run(tmp_path, PromptTuning(tuner="published", **TUNING), fit=False)
    assert len(rows(tmp_path)) == 3 * 4


def test_validation_tasks_are_logged_apart_and_not_reported(tmp_path):
    data = {**POINT, "tuned_training_tasks": ["point/00"]}
    trainer, _ = run(
        tmp_path, PromptTuning(validation_tasks=["point/00"], tasks=["point/07"], **TUNING), epochs=1, data=data
    )
    assert "tuning_validation/tuned_return" in trainer.callback_metrics
    assert "tuning_tuned_return/point/03" not in trainer.callback_metrics
    summary = json.loads((tmp_path / "run" / "version_0" / "summary.json").read_text())
    assert set(summary["tasks"]) == {"point/07"}
    assert {row["task"] for row in rows(tmp_path)} == {"point/00", "point/07"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["point/00"]}, "point/00 is not a held-out task"),
        ({"validation_tasks": ["point/00"]}, "tuned_training_tasks"),
    ],
)
def test_unknown_tasks_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, PromptTuning(**options, **TUNING))


def test_an_error_in_the_writing_is_raised(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr("pdt_lightning.results.report.write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        run(tmp_path, PromptTuning(**TUNING))


class Weights(PromptTuning):
    """Notes the weights of each phase."""

    def _policy(self, module):
        self.seen = {name: values.clone() for name, values in module.state_dict().items()}
        return super()._policy(module)


@pytest.mark.filterwarnings("ignore:SWA is currently only supported every epoch")
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("averaging", ["none", "exponential", "stochastic"])
def test_what_is_judged_is_what_is_saved(tmp_path, averaging, first):
    made = {
        "none": [],
        "exponential": [EMAWeightAveraging(decay=0.5)],
        "stochastic": [StochasticWeightAveraging(1e-3)],
    }[averaging]
    tuning, last = (
        Weights(**TUNING),
        ModelCheckpoint(tmp_path, "last", enable_version_counter=False, save_on_train_epoch_end=False),
    )
    run(tmp_path, None, callbacks=[*([*made, tuning] if first else [tuning, *made]), last], checkpoints=True)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(tuning.seen[name], values) for name, values in saved.items())


def test_training_goes_on_with_its_own_weights_beside_an_average(tmp_path):
    class Own(lightning.Callback):
        def on_validation_end(self, trainer, module):
            self.after = {name: values.clone() for name, values in module.state_dict().items()}

        def on_validation_start(self, trainer, module):
            self.before = {name: values.clone() for name, values in module.state_dict().items()}

    own = Own()
    run(tmp_path, PromptTuning(**TUNING), callbacks=[EMAWeightAveraging(decay=0.5), own])
    assert all(torch.equal(own.before[name], own.after[name]) for name in own.before)


def test_numpy_numbers_among_the_options_make_checkpoints_that_are_read(tmp_path):
    data = {**POINT, "family_options": {**POINT["family_options"], "action_noise": np.float64(0.05)}}
    module = LitPDT(2, 2, 30, context_steps=5, **{**SMALL, "learning_rate": np.logspace(-4, -2, 3)[1]})
    tuning = PromptTuning(**{**TUNING, "rounds": np.int64(2)})
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        default_root_dir=tmp_path,
        callbacks=[tuning, ModelCheckpoint(tmp_path, "last")],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=MultiTaskDataModule(**data))
    saved = read(tmp_path / "last.ckpt")
    assert saved["hyper_parameters"]["learning_rate"] == pytest.approx(1e-3)
    options = next(state for name, state in saved["callbacks"].items() if name.startswith("PromptTuning"))["options"]
    assert options["rounds"] == 2
    assert load(tmp_path / "last.ckpt")[1].hparams["family_options"]["action_noise"] == 0.05


def test_prompts_of_fewer_tokens_are_played_and_what_cannot_merge_them_trains_nothing(tmp_path, monkeypatch):
    asked, groups = [], pdt.groups
    monkeypatch.setattr(pdt, "groups", lambda *given: asked.append(given[2]) or groups(*given))
    tuning = PromptTuning(prompt_tokens=3, **TUNING)
    run(tmp_path, tuning, epochs=1)
    assert set(asked) == {3}
    assert tuning.state_dict()["options"]["prompt_tokens"] == 3
    module = LitPDT(2, 2, 30, context_steps=5, **SMALL, transformer="tests.guests.Reactive")
    trainer = lightning.Trainer(max_epochs=1, logger=False, callbacks=[PromptTuning(prompt_tokens=3, **TUNING)])
    with pytest.raises(UserError, match=r"prompt_tokens`=3: the transformer tests.guests.Reactive cannot"):
        trainer.fit(module, datamodule=MultiTaskDataModule(**POINT))
    assert trainer.global_step == 0
