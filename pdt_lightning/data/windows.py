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
        states: `(B, T, S)` float32.
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

    def to(self, *args: object, **kwargs: object) -> Self:
        """On another device; types stay."""
        return type(self)(*(getattr(self, field.name).to(*args, **kwargs) for field in fields(self)))

    @classmethod
    def cat(cls, parts: list[Self]) -> Self:
        """Rows of all parts, one below the other."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def window_indices(episodes: Episodes, episode: np.ndarray, start: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the steps of windows stand in the flat arrays.

    Args:
        episodes: `E` episodes.
        episode: `(...,)` episode of each window.
        start: `(...,)` first step, within the episode.
        steps: length; a window that reaches past the episode's end is padded on the left.

    Returns:
        `(..., steps)` indices into the flat arrays (of padding: the first step's), and the mask, False on padding.
    """
    present = np.minimum(steps, episodes.lengths[episode] - start)
    position = np.arange(steps) - (steps - present)[..., None]
    mask = position >= 0
    return (episodes.offsets[episode] + start)[..., None] + np.where(mask, position, 0), mask


def gather(episodes: Episodes, indices: np.ndarray, mask: np.ndarray, start_of_episode: np.ndarray) -> Steps:
    """The steps at `indices (B, T)`, zero where `mask (B, T)` is False.

    Args:
        episodes: the flat arrays.
        indices: as from `window_indices`.
        mask: as from `window_indices`.
        start_of_episode: `(B, T)` index of the first step of the episode that each step belongs to.
    """
    return Steps(
        returns_to_go=torch.from_numpy(np.where(mask, episodes.returns_to_go[indices], 0)[..., None]),
        states=torch.from_numpy(np.where(mask[..., None], episodes.states[indices], 0)),
        actions=torch.from_numpy(np.where(mask[..., None], episodes.actions[indices], 0)),
        timesteps=torch.from_numpy(np.where(mask, indices - start_of_episode, 0)),
        mask=torch.from_numpy(mask),
    )


def context_windows(episodes: Episodes, episode: np.ndarray, start: np.ndarray, steps: int) -> tuple[Steps, Tensor]:
    """Context windows and the actions to learn in them.

    Args:
        episodes: the flat arrays.
        episode: `(B,)`.
        start: `(B,)`, within the episode.
        steps: `K`.

    Returns:
        `B` rows of `K` steps, and `(B, K, A)` labels.
    """
    indices, mask = window_indices(episodes, episode, start, steps)
    window = gather(episodes, indices, mask, episodes.offsets[episode][:, None])
    return window, torch.from_numpy(np.where(mask[..., None], episodes.labels[indices], 0))
