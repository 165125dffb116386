"""Updates that are not finite: the run stops before it takes one over, or passes over it."""

import lightning
import pytest
import torch

from pdt_lightning.core.errors import UserError
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model.lit_pdt import LitPDT
from tests.conftest import POINT, SMALL


class Broken(MultiTaskDataModule):
    """Labels of one row of update 2 are not finite."""

    def batch(self, update, rank=0, world_size=1):
        batch = super().batch(update, rank, world_size)
        if update == 2:
            batch.labels[5, -1, 0] = float("nan")
            self.guilty = self.training_tasks[batch.task[5]].id
        return batch


def fit(folder, checkpoint=None, updates=6, **options):
    module, data = LitPDT(2, 2, 30, context_steps=5, **SMALL, **options), Broken(**POINT)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=2,
        max_steps=updates,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        callbacks=[Keep()],
    )
    try:
        trainer.fit(module, data, ckpt_path=checkpoint)
    finally:
        trainer.save_checkpoint(folder / "end.ckpt")
    return trainer, module, data


class Keep(lightning.Callback):
    """Keeps the weights after each update."""

    def __init__(self):
        self.weights = []

    def on_train_batch_end(self, trainer, module, *args):
        self.weights.append(torch.cat([parameter.detach().flatten() for parameter in module.parameters()]))


def test_it_stops_with_the_task_named_and_the_weights_of_before(tmp_path):
    module, data = LitPDT(2, 2, 30, context_steps=5, **SMALL), Broken(**POINT)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        callbacks=[Keep()],
    )
    with pytest.raises(
        UserError, match=r"Update 2: .* not finite, with windows of .* `model.skip_not_finite`=true"
    ) as raised:
        trainer.fit(module, data)
    assert f"with windows of {data.guilty}. " in str(raised.value)
    weights = trainer.callbacks[0].weights
    assert len(weights) == 3
    assert torch.equal(weights[1], weights[2])


def test_it_is_passed_over_and_counted(tmp_path):
    trainer, module, _ = fit(tmp_path, skip_not_finite=True)
    weights = trainer.callbacks[0].weights
    assert trainer.global_step == 6
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[2], weights[3])
    assert module.skipped == 1
    assert trainer.callback_metrics["train/skipped_updates"] == 1
    assert torch.load(tmp_path / "end.ckpt", weights_only=True)["skipped_updates"] == 1
    fit(tmp_path, tmp_path / "end.ckpt", skip_not_finite=True)
    assert torch.load(tmp_path / "end.ckpt", weights_only=True)["skipped_updates"] == 1
