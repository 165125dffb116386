"""TaskSuccess: plays the training tasks before an epoch, where training draws them by how often they are won."""

from collections.abc import Sequence

import lightning
import numpy as np

from pdt_lightning.callbacks.prompt_tuning import PromptTuning
from pdt_lightning.core.distributed import attempt, everywhere, gather, place, shard
from pdt_lightning.core.errors import UserError
from pdt_lightning.core.seeding import generator, integer
from pdt_lightning.core.signals import Interrupted
from pdt_lightning.core.terminal import progress_bar, say
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.data.segments import Segments
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.rollouts.rollout import Outcome, Row
from pdt_lightning.tuning.subject import Subject

EPISODES = 4  # of each training task before an epoch


class TaskSuccess(lightning.Callback):
    """With `data.task_sampling`=success, plays every training task a few times before each epoch but the first.

    Each episode has a random prompt of the task's own demonstrations. All ranks share the episodes, and draw tasks
    alike. Loggers are told each task's rate of success, as `train_success/<task>`, and its share of the rows, as
    `train_share/<task>`. What was played is not kept: a run that is stopped in between plays it again.

    Args:
        tuning: which the trainer has before this one; as it plays, so are these episodes played.
    """

    def __init__(self, tuning: PromptTuning):
        self.tuning = tuning

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Refuse training tasks that cannot be won, before anything is trained."""
        data: MultiTaskDataModule = trainer.datamodule  # type: ignore[attr-defined]
        if data.task_sampling.name == "success":
            if stage == "fit":
                everywhere(lambda: check_success(data) if trainer.is_global_zero else None)
            data.task_sampling.has_player = True

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: LitPDT) -> None:  # type: ignore[override]
        """Play, and draw the epoch's tasks by what is then held of them; a collective."""
        data: MultiTaskDataModule = trainer.datamodule  # type: ignore[attr-defined]
        sampling, epoch = data.task_sampling, trainer.current_epoch
        # With `overfit_batches` the batches are the same in every epoch.
        if sampling.posterior is None or not sampling.is_due(epoch) or trainer.overfit_batches:  # type: ignore[attr-defined]  # its stub has it not
            return
        outcomes = self._played(pl_module, rows_of(data, epoch), epoch)
        won = [0.0 if one.failed is not None else one.success or 0.0 for one in outcomes]
        sampling.follow_success(np.reshape(won, (-1, EPISODES)).sum(axis=1).tolist(), EPISODES, epoch)
        numbers = {"success": sampling.posterior.rates(), "share": sampling.shares()}
        told = {
            f"train_{name}/{task.id}": float(value)
            for name, values in numbers.items()
            for task, value in zip(data.training_tasks, values, strict=True)
        }
        for logger in trainer.loggers:
            logger.log_metrics(told, trainer.global_step)

    def _played(self, module: LitPDT, rows: Sequence[Row], epoch: int) -> list[Outcome]:
        """The outcomes of all rows, shared out among the ranks."""
        (rank, ranks), engine, request = place(), self.tuning.player, self.tuning.request
        assert engine is not None
        policy, mine = everywhere(lambda: self.tuning._policy(module)), shard(rows, rank, ranks)

        def ended(_: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
            advance(len(outcomes))
            if request and request.heard:
                raise Interrupted(f"before epoch {epoch}, whose rollouts of the training tasks will be made anew")

        with progress_bar("Playing training tasks", len(mine), "rollout", self.tuning.progress and not rank) as advance:
            found = gather(attempt(lambda: engine.with_policy(policy, ended)(mine)))
        if engine.faults:
            say(engine.report())
        return [found[number % ranks][number // ranks] for number in range(len(rows))]


def rows_of(data: MultiTaskDataModule, epoch: int) -> list[Row]:
    """The episodes before an epoch, `EPISODES` of one training task after the other; they follow from its number."""
    seed, tasks = data.hparams["seed"], np.repeat(np.arange(len(data.training_tasks)), EPISODES)
    drawn = generator(seed, "task success", epoch).random((len(tasks), data.hparams["segments"]))
    prompts = data.training_pool.prompts(drawn, tasks)
    return [
        Row(data.training_tasks[task], prompts[[number]], integer(seed, "task success", epoch, number))
        for number, task in enumerate(tasks)
    ]


def check_success(data: MultiTaskDataModule) -> None:
    """Refuse to draw tasks by a success that their environments do not report; each environment is asked once.

    Raises:
        UserError: naming the task and its environment, also where that cannot be built.
    """
    numbers = {task.env_name: number for number, task in reversed(list(enumerate(data.training_tasks)))}
    for number in numbers.values():
        task = data.training_tasks[number]
        segments = Segments(data.training_pool.episodes.of_task(number), data.hparams["segment_steps"], task.id)
        if not Subject(task, segments, held_out=False).reports_success:
            raise UserError(
                f"`data.task_sampling`=success: {task.env_name}, the environment of {task.id}, has no success in its "
                "info, and a return is not taken for one. Choose uniform or sensitivity."
            )
