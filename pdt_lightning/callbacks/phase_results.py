"""What a phase leaves in the run's folder and in TensorBoard: tables, prompts and figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.loggers import TensorBoardLogger

from pdt_lightning.callbacks.board import show_phase
from pdt_lightning.results import report
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.result import TaskResult
from pdt_lightning.tuning.subject import Subject


def write_and_show(
    folder: Path,
    results: Sequence[TaskResult],
    subjects: Sequence[Subject],
    options: TuningOptions,
    trainer: lightning.Trainer,
    phase: int,
    epoch: int,
    final: bool,
) -> None:
    """Write a phase, show it in TensorBoard and print its table.

    Args:
        folder: of the run.
        results: of all tasks that were tuned.
        subjects: the tasks that were to be tuned, with those that were given up.
        options: by which they were tuned.
        trainer: whose loggers show it.
        phase: its number.
        epoch: in which it was run.
        final: whether it is the run's last one.
    """
    name, tuned = f"epoch_{epoch:04d}", {one.task for one in results}
    images = report.write_phase(
        folder,
        results,
        {subject.task.id: subject.task for subject in subjects},
        options.tuner,
        phase,
        epoch,
        f"figures/{name}",
        checkpoint="checkpoints/last.ckpt",
        final=final,
        given_up=[subject.task.id for subject in subjects if subject.task.id not in tuned],
    )
    show_phase(boards(trainer), images, results, folder / "tuning" / name, trainer.global_step)
    held_out = [result for result in results if result.held_out]
    spent = f"at most {options.rounds} rollouts a task by {options.tuner}"
    report.print_table(held_out, f"Prompts tuned after {trainer.global_step} updates: {spent}")


def boards(trainer: lightning.Trainer) -> list[Any]:
    """TensorBoard's writers."""
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
