"""What is tuned: a task with its arms, and what is found out about it once."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pdt_lightning.core.errors import UserError
from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.rollouts.environment_cache import reports_success
from pdt_lightning.tasks.base import Task
from pdt_lightning.tuners.spaces import Tried

if TYPE_CHECKING:
    from pdt_lightning.data.datamodule import MultiTaskDataModule

REPLAYED = 3  # demonstrations


@dataclass(frozen=True)
class Subject:
    """A task to tune, with what is known of it.

    Args:
        task: with horizon, target and scale settled.
        segments: its arms, whose demonstrations say what an expert gets.
        held_out: True for a held-out task, which is reported; False for a training task, tuned to choose a checkpoint
            by.
        remembered: outcomes of an earlier phase that its tuner may count, each with the segments that were tried.
    """

    task: Task
    segments: Segments
    held_out: bool = True
    remembered: list[Tried] = field(default_factory=list)

    @cached_property
    def reports_success(self) -> bool:
        """Whether the environment reports success, in an episode of random actions or in one of a demonstration's.

        These are played when this is first asked.
        """
        episodes = self.segments.episodes
        offsets = episodes.index.offsets
        executed = slice(episodes.state_size, episodes.state_size + episodes.action_size)
        best = episodes.ranked()[:REPLAYED]
        actions = [np.array(episodes.steps[offsets[number] : offsets[number + 1], executed]) for number in best]
        return reports_success(self.task, actions)


def subjects_of(data: "MultiTaskDataModule", names: Iterable[str], held_out: bool = True) -> list[Subject]:
    """The tasks of these ids, once their candidates are there."""
    return [Subject(data.prompt_tasks[name], data.segments(name), held_out) for name in names]


def check_prompt(prompt: Prompt, subject: Subject, slots: int) -> None:
    """Refuse a prompt that was not made for such a task and model.

    Raises:
        UserError: naming the task.
    """
    expected = subject.segments.gather(np.zeros((1, slots), int))
    for name, values in vars(prompt).items():
        shape = tuple(getattr(expected, name).shape)
        if tuple(values.shape) != shape:
            raise UserError(
                f"the prompt of {subject.task.id} has {name} of shape {tuple(values.shape)}, not {shape}. Give one "
                "that was saved with this checkpoint's options."
            )
        if not bool(values.isfinite().all()):
            raise UserError(f"the prompt of {subject.task.id} has {name} that are not all finite. Give another one.")
