"""Episodes: the demonstrations of many tasks as flat arrays with offsets, returns-to-go and statistics."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pdt_lightning.data.minari import Demonstration


@dataclass(frozen=True)
class Episodes:
    """`M` steps of `E` episodes, one after the other; episodes of one task are neighbours.

    Args:
        states: `(M, S)` float32.
        actions: `(M, A)` float32, as executed.
        labels: `(M, A)` float32, to learn.
        returns_to_go: `(M,)` float32, in units of the task's scale.
        offsets: `(E + 1,)` int64; episode e holds steps `offsets[e]` to `offsets[e + 1] - 1`.
        task: `(E,)` int64, not falling; index of each episode's task.
    """

    states: np.ndarray
    actions: np.ndarray
    labels: np.ndarray
    returns_to_go: np.ndarray
    offsets: np.ndarray
    task: np.ndarray

    @classmethod
    def build(cls, demonstrations: Sequence[Sequence[Demonstration]], scales: Sequence[float]) -> "Episodes":
        """From the demonstrations of each task and the tasks' return scales."""
        flat = [episode for task in demonstrations for episode in task]
        task = np.repeat(np.arange(len(demonstrations)), [len(episodes) for episodes in demonstrations])
        return cls(
            states=np.concatenate([episode.states for episode in flat]),
            actions=np.concatenate([episode.actions for episode in flat]),
            labels=np.concatenate([episode.labels for episode in flat]),
            returns_to_go=np.concatenate([returns_to_go(e.rewards, scales[int(t)]) for e, t in zip(flat, task, strict=True)]),
            offsets=np.concatenate([[0], np.cumsum([len(episode.rewards) for episode in flat])]).astype(np.int64),
            task=task.astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.task)

    @property
    def lengths(self) -> np.ndarray:
        """`(E,)` steps of each episode."""
        return np.diff(self.offsets)

    def of_task(self, task: int) -> np.ndarray:
        """Indices of the episodes of one task."""
        return np.flatnonzero(self.task == task)

    def select(self, episodes: np.ndarray) -> "Episodes":
        """A copy with only the given episodes."""
        steps = np.concatenate([np.arange(self.offsets[e], self.offsets[e + 1]) for e in episodes])
        per_step = {name: getattr(self, name)[steps] for name in ("states", "actions", "labels", "returns_to_go")}
        offsets = np.concatenate([[0], np.cumsum(self.lengths[episodes])]).astype(np.int64)
        return Episodes(**per_step, offsets=offsets, task=self.task[episodes])


def returns_to_go(rewards: np.ndarray, scale: float) -> np.ndarray:
    """Undiscounted future reward at each step, in units of `scale`.

    Args:
        rewards: `(T,)` environment reward per step.
        scale: size of the task's returns, in the reward's unit; > 0.

    Returns:
        `(T,)` float32; entry t is `sum(rewards[t:]) / scale`.

    Source: Chen et al. 2021 (Decision Transformer), section 3.

    >>> returns_to_go(np.array([1.0, 2.0, 3.0]), scale=6.0).round(2).tolist()
    [1.0, 0.8299999833106995, 0.5]
    """
    return (rewards[::-1].cumsum()[::-1] / scale).astype(np.float32)


@dataclass(frozen=True)
class Statistics:
    """What the model normalises by: mean and standard deviation of the states, middle and half-width of the action box.

    Args:
        state_mean: `(S,)` float32.
        state_std: `(S,)` float32, at least 1e-6; 1 where a coordinate never changes.
        action_mid: `(A,)` float32.
        action_half: `(A,)` float32, > 0.
    """

    state_mean: np.ndarray
    state_std: np.ndarray
    action_mid: np.ndarray
    action_half: np.ndarray

    @classmethod
    def of(cls, episodes: Episodes, low: np.ndarray, high: np.ndarray) -> "Statistics":
        """From the episodes trained on; an action box without bounds is replaced by the range of the demonstrated actions."""
        std = episodes.states.std(axis=0, dtype=np.float64)
        low = np.where(np.isfinite(low), low, episodes.actions.min(axis=0))
        high = np.where(np.isfinite(high), high, episodes.actions.max(axis=0))
        half = (high - low) / 2
        return cls(
            state_mean=episodes.states.mean(axis=0, dtype=np.float64).astype(np.float32),
            state_std=np.where(std < 1e-6, 1.0, std).astype(np.float32),
            action_mid=((high + low) / 2).astype(np.float32),
            action_half=np.where(half < 1e-6, 1.0, half).astype(np.float32),
        )
