"""Windows of consecutive steps, left-padded, gathered without Python loops."""

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from torch import Tensor

from pdt_lightning.data.episodes import Episodes


@dataclass
class Steps:
    """`B` rows of `T` steps, as the model reads them; states and actions as the environment gives them.

    Args:
        returns_to_go: `(B, T, 1)` float32, in units of the task's scale.
        states: `(B, T, S)` float32, or float64 where float32 would round away what differs between them.
        actions: `(B, T, A)` float32, as executed.
        timesteps: `(B, T)` int64, index in the episode the step came from.
        mask: `(B, T)` bool, False where a row is padded.
    """

    returns_to_go: Tensor
    states: Tensor
    actions: Tensor
    timesteps: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.mask)

    def __getitem__(self, rows: slice | Tensor | list[int]) -> Self:
        """Some of the rows."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))

    def singly(self) -> Self:
        """`B·T` rows of one step."""
        return type(self)(*(getattr(self, field.name).flatten(0, 1)[:, None] for field in fields(self)))

    def to(self, *args: object, **kwargs: object) -> Self:
        """On another device; types stay."""
        return type(self)(*(getattr(self, field.name).to(*args, **kwargs) for field in fields(self)))

    @classmethod
    def cat(cls, parts: list[Self]) -> Self:
        """Rows of all parts, one below the other."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def window_indices(
    episodes: Episodes, episode: np.ndarray, start: np.ndarray, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where the steps of windows stand in the flat arrays.

    Args:
        episodes: `E` episodes.
        episode: `(...,)` episode of each window.
        start: `(...,)` first step, within the episode.
        steps: length; a window that reaches past the episode's end is padded on the left.

    Returns:
        `(..., steps)` indices into the flat arrays (of padding: the first step's), and the mask, False on padding.
    """
    present = np.minimum(steps, episodes.lengths_of(episode) - start)
    position = np.arange(steps) - (steps - present)[..., None]
    mask = position >= 0
    return (episodes.offsets[episode] + start)[..., None] + np.where(mask, position, 0), mask


def gather(episodes: Episodes, indices: np.ndarray, mask: np.ndarray, episode: np.ndarray) -> tuple[Steps, Tensor]:
    """The steps at `indices (B, T)` and the actions to learn there, zero where `mask (B, T)` is False.

    Args:
        episodes: the flat arrays.
        indices: as from `window_indices`.
        mask: as from `window_indices`.
        episode: `(B, T)` or `(B, 1)`, episode of each step.

    Returns:
        `B` rows of `T` steps, and `(B, T, A)` labels.
    """
    rows = episodes.steps[indices]  # all of a step at once, since they may come from a file
    rows[~mask] = 0
    sizes = [episodes.state_size, episodes.action_size, episodes.action_size, 1]
    states, executed, labels, to_go, finer = (
        torch.from_numpy(np.ascontiguousarray(part)) for part in np.split(rows, np.cumsum(sizes), axis=-1)
    )
    if finer.shape[-1]:
        states = states.double() + finer
    scales = torch.from_numpy(episodes.scales[episodes.task[episode]])[..., None]
    timesteps = torch.from_numpy(np.where(mask, indices - episodes.offsets[episode], 0))
    return Steps(to_go / scales, states, executed, timesteps, torch.from_numpy(mask)), labels


def context_windows(episodes: Episodes, episode: np.ndarray, start: np.ndarray, steps: int) -> tuple[Steps, Tensor]:
    """Context windows and the actions to learn in them.

    Args:
        episodes: the flat arrays.
        episode: `(B,)`.
        start: `(B,)`, within the episode.
        steps: `T`.

    Returns:
        `B` rows of `T` steps, and `(B, T, A)` labels.
    """
    indices, mask = window_indices(episodes, episode, start, steps)
    return gather(episodes, indices, mask, episode[:, None])


def windows_to_each_step(episodes: Episodes, episode: int, steps: int) -> tuple[Steps, Tensor]:
    """Of every step of an episode the window that ends with it, as a rollout in the published form sees it.

    Args:
        episodes: the flat arrays.
        episode: its number.
        steps: `T`, padded on the left.

    Returns:
        As many rows of `T` steps as the episode has, and `(B, T, A)` labels.
    """
    length = int(episodes.lengths_of(np.array(episode)))
    position = np.arange(length)[:, None] - np.arange(steps)[::-1]
    mask = position >= 0
    return gather(
        episodes, episodes.offsets[episode] + np.where(mask, position, 0), mask, np.full((length, 1), episode)
    )
