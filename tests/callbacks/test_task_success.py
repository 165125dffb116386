"""Training tasks are played before an epoch, by the engine of tuning, and drawn by their success."""

import csv

import lightning
import numpy as np
import pytest
from lightning.pytorch.loggers import CSVLogger

from pdt_lightning.callbacks import PromptTuning, TaskSuccess
from pdt_lightning.callbacks.task_success import EPISODES, rows_of
from pdt_lightning.core.errors import UserError
from pdt_lightning.core.signals import Interrupted
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.rollouts.rollout import rollout
from tests.callbacks.test_prompt_tuning import TUNING
from tests.conftest import POINT, SMALL

BY_SUCCESS = {**POINT, "task_sampling": "success"}


def fitted(folder, callbacks, data=BY_SUCCESS, epochs=2):
    """Trainer, module and data after so many epochs."""
    module, made = LitPDT(2, 2, 30, context_steps=5, **SMALL), MultiTaskDataModule(**data)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=CSVLogger(str(folder), name="run", version=0),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        callbacks=callbacks,
    )
    trainer.fit(module, datamodule=made)
    return trainer, module, made


class Played(TaskSuccess):
    """Notes the policy that plays."""

    def on_train_epoch_start(self, trainer, pl_module):
        self.policy = self.tuning._policy(pl_module)
        super().on_train_epoch_start(trainer, pl_module)


def test_what_is_learned_is_what_was_played_and_loggers_are_told(tmp_path):
    tuning = PromptTuning(every_n_epochs=0, **TUNING)
    success = Played(tuning)
    _, _, data = fitted(tmp_path, [tuning, success])
    rows = rows_of(data, 1)
    assert [row.task.id for row in rows] == [task.id for task in data.training_tasks for _ in range(EPISODES)]
    assert len({row.seed for row in rows}) == len(rows) == 13 * EPISODES
    assert [row.seed for row in rows] != [row.seed for row in rows_of(data, 2)]
    won = np.array([outcome.success for outcome in rollout(success.policy, rows, 8)]).reshape(-1, EPISODES).sum(axis=1)
    posterior = data.task_sampling.posterior
    assert posterior.won == pytest.approx(1 + won)
    assert posterior.lost == pytest.approx(1 + EPISODES - won)
    assert data.task_sampling.epoch == 1
    with (tmp_path / "run" / "version_0" / "metrics.csv").open(newline="") as file:
        (told,) = [row for row in csv.DictReader(file) if row["train_success/point/00"]]
    assert float(told["train_success/point/00"]) == pytest.approx(posterior.rates()[0])
    assert sum(float(value) for name, value in told.items() if name.startswith("train_share/")) == pytest.approx(1)


def test_uniformly_nothing_is_played(tmp_path):
    tuning = PromptTuning(every_n_epochs=0, **TUNING)
    _, _, data = fitted(tmp_path, [tuning, TaskSuccess(tuning)], POINT)
    assert data.state_dict().keys() == {"facts"}


def test_asked_to_stop_it_stops_between_two_blocks(tmp_path):
    class Stops(TaskSuccess):
        def on_train_epoch_start(self, trainer, pl_module):
            self.tuning.request = type("Heard", (), {"heard": trainer.current_epoch == 1})
            super().on_train_epoch_start(trainer, pl_module)

    tuning = PromptTuning(every_n_epochs=0, **TUNING)
    with pytest.raises(Interrupted, match="before epoch 1"):
        fitted(tmp_path, [tuning, Stops(tuning)])


def test_without_somebody_who_plays_it_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"`data.task_sampling`=success needs rollouts .* TaskSuccess\(tuning\)"):
        fitted(tmp_path, [PromptTuning(every_n_epochs=0, **TUNING)])


def test_an_environment_that_reports_no_success_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("pdt_lightning.tuning.subject.reports_success", lambda task, actions: False)
    tuning = PromptTuning(every_n_epochs=0, **TUNING)
    with pytest.raises(UserError, match=r"success: .*the environment of point/00, has no success in its info"):
        fitted(tmp_path, [tuning, TaskSuccess(tuning)])
    assert not (tmp_path / "run" / "version_0" / "metrics.csv").exists()
