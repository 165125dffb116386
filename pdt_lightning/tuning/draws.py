"""What is tuned, and the prompts and episodes of a phase, which follow from its seed alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from pdt_lightning.core.errors import UserError
from pdt_lightning.core.seeding import Key, generator, integer
from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.rollouts.rollout import Row
from pdt_lightning.tasks.base import Task
from pdt_lightning.tuners.spaces import Choices
from pdt_lightning.tuning.options import TuningOptions


@dataclass(frozen=True)
class Subject:
    """A task to tune, with what is known of it.

    Args:
        task: with horizon, target and scale settled.
        segments: its arms, whose demonstrations say what an expert gets.
        held_out: whether it is reported, or was trained on and serves to choose a checkpoint by.
    """

    task: Task
    segments: Segments
    held_out: bool = True


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


@dataclass(frozen=True)
class Draws:
    """The prompts and episodes of a phase: they follow from seed, phase, task and purpose alone.

    Args:
        seed: of tuning.
        phase: its number.
        slots: `J`.
        verdict_episodes: on which a prompt is judged.
        verdict_seed: of these episodes and of the untuned prompts beside them.
    """

    seed: int
    phase: int
    slots: int
    verdict_episodes: int
    verdict_seed: int

    @classmethod
    def of(cls, options: TuningOptions, slots: int, phase: int) -> Self:
        """As the options say."""
        return cls(options.seed, phase, slots, options.verdict_episodes, options.verdict_seed)

    def _seed(self, purpose: str) -> int:
        return self.verdict_seed if purpose == "verdict" else self.seed

    def key(self, subject: Subject, purpose: str) -> tuple[Key, ...]:
        """By which what is drawn for a purpose, such as `verdict`, is drawn."""
        return (purpose, self.phase, subject.task.id)

    def prompts(self, subject: Subject, purpose: str, count: int) -> list[tuple[Prompt, str]]:
        """So many random prompts, each with its origin in words."""
        rng = generator(self._seed(purpose), "random prompts", *self.key(subject, purpose))
        space = Choices(subject.segments, self.slots)
        choices = [space.sample(rng) for _ in range(count)]
        return [(space.prompt(choice), space.describe(choice)) for choice in choices]

    def untuned(self, subject: Subject, purpose: str, episodes: int) -> list[Row]:
        """Episodes with a random prompt each."""
        return self._rows(subject, purpose, [prompt for prompt, _ in self.prompts(subject, purpose, episodes)])

    def judged(self, subject: Subject, prompt: Prompt) -> list[Row]:
        """The verdict's episodes, all with one prompt."""
        return self._rows(subject, "verdict", [prompt] * self.verdict_episodes)

    def _rows(self, subject: Subject, purpose: str, prompts: Sequence[Prompt]) -> list[Row]:
        key = self.key(subject, purpose)
        return [Row(subject.task, prompt, integer(self._seed(purpose), *key, n)) for n, prompt in enumerate(prompts)]
