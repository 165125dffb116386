"""What a phase leaves in the run's folder and in TensorBoard: tables, prompts, figures, and in the end films."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.loggers import TensorBoardLogger

from pdt_lightning.callbacks.board import show_phase
from pdt_lightning.results import report
from pdt_lightning.results.videos import examples, film_all, log_films
from pdt_lightning.rollouts.policy import Policy
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
    show_phase(_boards(trainer), images, results, folder / "tuning" / name, trainer.global_step)
    held_out = [result for result in results if result.held_out]
    spent = f"at most {options.rounds} rollouts a task by {options.tuner}"
    report.print_table(held_out, f"Prompts tuned after {trainer.global_step} updates: {spent}")


def film(
    folder: Path,
    results: Sequence[TaskResult],
    subjects: Sequence[Subject],
    options: TuningOptions,
    trainer: lightning.Trainer,
    phase: int,
    slots: int,
    policy: Policy,
    width: int,
    progress: bool,
) -> None:
    """Film the first held-out tasks, as many as `options.videos` says, untuned and tuned.

    Args:
        folder: of the run.
        results: of the phase.
        subjects: the tasks.
        options: by which they were tuned.
        trainer: whose loggers show the films.
        phase: its number.
        slots: `J`.
        policy: that was tuned.
        width: rows in a forward pass.
        progress: show a bar.
    """
    by_id = {subject.task.id: subject for subject in subjects}
    held_out = [result for result in results if result.held_out]
    pairs = [examples(by_id[one.task], one, options, slots, phase) for one in held_out[: options.videos]]
    films = film_all(folder / "videos", pairs, policy, width, progress)
    for board in _boards(trainer):
        log_films(board, films, trainer.global_step)


def _boards(trainer: lightning.Trainer) -> list[Any]:
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
