"""The random prompts of a phase, and the episodes on which prompts are compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from pdt_lightning.core.seeding import Key, generator, integer
from pdt_lightning.data.segments import Prompt
from pdt_lightning.rollouts.rollout import Row
from pdt_lightning.tuners.spaces import Choices
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.subject import Subject


@dataclass(frozen=True)
class PhaseEpisodes:
    """The random prompts and the episodes of a phase, which follow from seed, phase, task and purpose alone.

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
    def from_options(cls, options: TuningOptions, slots: int, phase: int) -> Self:
        """As the options say."""
        return cls(options.seed, phase, slots, options.verdict_episodes, options.verdict_seed)

    def _seed(self, purpose: str) -> int:
        return self.verdict_seed if purpose == "verdict" else self.seed

    def seed_key(self, subject: Subject, purpose: str) -> tuple[Key, ...]:
        """The key that seeds all that is drawn on one task for one purpose, such as `verdict`, in this phase."""
        return (purpose, self.phase, subject.task.id)

    def prompts(self, subject: Subject, purpose: str, count: int) -> list[tuple[Prompt, str]]:
        """So many random prompts, each with its origin in words."""
        rng = generator(self._seed(purpose), "random prompts", *self.seed_key(subject, purpose))
        space = Choices(subject.segments, self.slots)
        choices = [space.sample(rng) for _ in range(count)]
        return [(space.prompt(choice), space.describe(choice)) for choice in choices]

    def untuned(self, subject: Subject, purpose: str, episodes: int) -> list[Row]:
        """Episodes with a random prompt each."""
        return self._rows(subject, purpose, [prompt for prompt, _ in self.prompts(subject, purpose, episodes)])

    def evaluation_rows(self, subject: Subject, prompt: Prompt) -> list[Row]:
        """The verdict's episodes, all with one prompt."""
        return self._rows(subject, "verdict", [prompt] * self.verdict_episodes)

    def _rows(self, subject: Subject, purpose: str, prompts: Sequence[Prompt]) -> list[Row]:
        key = self.seed_key(subject, purpose)
        return [Row(subject.task, prompt, integer(self._seed(purpose), *key, n)) for n, prompt in enumerate(prompts)]
