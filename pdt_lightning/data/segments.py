"""Segments, all the candidates of one task, and Prompt, what the model is given."""

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.torch import save

from pdt_lightning.core.errors import UserError
from pdt_lightning.core.files import write_atomically
from pdt_lightning.data.episodes import Episodes
from pdt_lightning.data.windows import Steps, gather, window_indices


@dataclass
class Prompt(Steps):
    """`B` trajectory prompts of `T = J·H` steps: `J` segments of `H` steps, one after the other."""

    def save(self, path: Path | str, origin: str = "", **facts: Any) -> None:
        """Write to a `.safetensors` file, atomically.

        Args:
            path: of the file.
            origin: in words, where the prompt comes from.
            **facts: kept beside it, as JSON can write them; those of `Task.facts` make the prompt usable without
                demonstrations.
        """
        tensors = {field.name: getattr(self, field.name).contiguous().cpu() for field in fields(self)}
        # One entry: safetensors writes several in any order, and equal prompts are to be equal files.
        write_atomically(path, save(tensors, metadata={"facts": json.dumps({**facts, "origin": origin})}))

    def tobytes(self) -> bytes:
        """All values, one after the other: equal for equal prompts of one kind of device."""
        return b"".join(getattr(self, field.name).cpu().contiguous().numpy().tobytes() for field in fields(self))

    @classmethod
    def load(cls, path: Path | str) -> "Prompt":
        """Read what `save` wrote."""
        return cls.load_with_facts(path)[0]

    @classmethod
    def load_with_origin(cls, path: Path | str) -> tuple["Prompt", str]:
        """The prompt, and in words where it comes from."""
        prompt, facts = cls.load_with_facts(path)
        return prompt, facts["origin"]

    @classmethod
    def load_with_facts(cls, path: Path | str) -> tuple["Prompt", dict[str, Any]]:
        """The prompt and what was kept beside it, `origin` included.

        Raises:
            UserError: if the file is no prompt.
        """
        try:
            with safe_open(path, framework="pt") as file:
                kept = file.metadata() or {}
                facts = (
                    json.loads(kept["facts"]) if "facts" in kept else {"origin": json.loads(kept.get("origin", "[]"))}
                )
                if isinstance(facts["origin"], list):  # a text for each segment, as versions before 0.2 kept it
                    facts["origin"] = "; ".join(facts["origin"])
                return cls(**{field.name: file.get_tensor(field.name) for field in fields(cls)}), facts
        except Exception as error:  # safetensors raises its own kinds, which differ between versions
            raise UserError(
                f"{path} is no prompt saved by pdt_lightning, or not the whole of one: {error}. Give another one."
            ) from error


def prompts_of(episodes: Episodes, episode: np.ndarray, start: np.ndarray, steps: int) -> Prompt:
    """`B` prompts of the segments of `steps` steps that begin at `start (B, J)` of `episode (B, J)`."""
    indices, mask = window_indices(episodes, episode, start, steps)
    flat = (len(episode), episode.shape[1] * steps)
    chosen, _ = gather(episodes, indices.reshape(flat), mask.reshape(flat), np.repeat(episode, steps, axis=1))
    return Prompt(**vars(chosen))


def windows_of(lengths: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """All windows of `steps` steps of episodes of `lengths (E,)` steps: `(N,)` episode and `(N,)` first step of each.

    >>> [numbers.tolist() for numbers in windows_of(np.array([3, 1, 2]), 2)]
    [[0, 0, 2], [0, 1, 0]]
    """
    per_episode = np.maximum(lengths - steps + 1, 0)
    episode = np.repeat(np.arange(len(lengths)), per_episode)
    return episode, np.arange(len(episode)) - np.repeat(np.cumsum(per_episode) - per_episode, per_episode)


@dataclass(frozen=True)
class Training:
    """The demonstrations of the training tasks, for what learns from all tasks together.

    Args:
        source: what they follow from, as JSON can write it.
        open: gives them as a `batches.Pool`; the first time they may have to be read or collected.
    """

    source: Any
    open: Callable[[], Any]  # of `batches.Pool`, which stands on segments itself


class Segments:
    """All windows of `H` steps of one task's candidate demonstrations: the arms of the bandit.

    Args:
        episodes: the candidate demonstrations of one task.
        steps: `H`.
        name: of the task, for errors.
        training: demonstrations of the tasks that the transformer was trained on; None where they are not known.

    Attributes:
        demonstrated: how many of the arms are windows of demonstrations; these come first.

    Raises:
        UserError: if no demonstration is long enough.
    """

    def __init__(self, episodes: Episodes, steps: int, name: str = "the task", training: Training | None = None):
        self.episode, self.start = windows_of(episodes.lengths, steps)
        if not len(self.episode):
            raise UserError(
                f"a prompt with segments of {steps} steps needs demonstrations of at least as many, but the longest of "
                f"{name} has {episodes.lengths.max()}. Lower `data.segment_steps` or collect longer episodes."
            )
        self.episodes = episodes
        self.steps = steps
        self.training = training
        self.demonstrated = len(self.episode)

    def __len__(self) -> int:
        """`N`, the number of arms."""
        return len(self.episode)

    def laid_out(self) -> tuple[Prompt, np.ndarray]:
        """All steps of the demonstrations, rows of one step each, and `(N,)` the row at which each segment begins."""
        episode, start = windows_of(self.episodes.lengths, 1)
        steps = prompts_of(self.episodes, episode[:, None], start[:, None], 1)
        return steps, self.episodes.offsets[self.episode] + self.start

    def gather(self, choices: np.ndarray) -> Prompt:
        """Prompts of the chosen segments.

        Args:
            choices: `(B, J)` segment of each slot.

        Returns:
            `B` prompts of `J·H` steps.
        """
        choices = np.asarray(choices)
        return prompts_of(self.episodes, self.episode[choices], self.start[choices], self.steps)

    def describe(self, segment: int) -> str:
        """A segment in words.

        Counted from 1, as people do.
        """
        first = int(self.start[segment]) + 1
        return f"steps {first}-{first + self.steps - 1} of demonstration {int(self.episode[segment]) + 1}"
