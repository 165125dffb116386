"""Episodes: the demonstrations of many tasks as flat arrays with offsets, in memory or mapped from a file, and their statistics."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pdt_lightning.data.minari import Demonstration


@dataclass(frozen=True)
class Index:
    """What is known of each of `E` episodes.

    Args:
        offsets: `(E + 1,)` int64; episode e holds steps `offsets[e]` to `offsets[e + 1] - 1`.
        returns: `(E,)` float64, undiscounted, in the reward's unit.
        successes: `(E,)` float64, highest `info["success"]`; NaN where the environment reports none.
        moments: `(E, 2, S)` float64: mean of the states, and sum of their squared distances from it.
        ranges: `(E, 2, A)` float32: lowest and highest action.
    """

    offsets: np.ndarray
    returns: np.ndarray
    successes: np.ndarray
    moments: np.ndarray
    ranges: np.ndarray

    @classmethod
    def of(cls, demonstrations: Sequence[Demonstration]) -> "Index":
        """Of episodes in memory."""
        states = [episode.states.astype(np.float64) for episode in demonstrations]
        return cls(
            offsets=np.concatenate([[0], np.cumsum([len(episode.rewards) for episode in demonstrations])]).astype(np.int64),
            returns=np.array([float(episode.rewards.sum()) for episode in demonstrations]),
            successes=np.array([np.nan if episode.success is None else episode.success for episode in demonstrations]),
            moments=np.array([(values.mean(axis=0), np.square(values - values.mean(axis=0)).sum(axis=0)) for values in states]),
            ranges=np.array([(episode.actions.min(axis=0), episode.actions.max(axis=0)) for episode in demonstrations]),
        )


@dataclass(frozen=True)
class Episodes:
    """`M` steps of `E` episodes, one after the other; episodes of one task are neighbours.

    Args:
        steps: `(M, S + 2 A + 1)` float32: state, action as executed, action to learn, and return-to-go in the reward's unit.
        index: of each episode.
        task: `(E,)` int64, not falling; index of each episode's task.
        scales: `(tasks,)` float32, return scale of each task.
    """

    steps: np.ndarray
    index: Index
    task: np.ndarray
    scales: np.ndarray

    @classmethod
    def build(cls, demonstrations: Sequence[Sequence[Demonstration]], scales: Sequence[float]) -> "Episodes":
        """In memory, from the demonstrations of each task and the tasks' return scales."""
        flat = [episode for task in demonstrations for episode in task]
        task = np.repeat(np.arange(len(demonstrations)), [len(episodes) for episodes in demonstrations])
        return cls(np.concatenate([step_rows(episode) for episode in flat]), Index.of(flat), task, np.array(scales, np.float32))

    def __len__(self) -> int:
        return len(self.task)

    @property
    def action_size(self) -> int:
        """`A`."""
        return self.index.ranges.shape[-1]

    @property
    def state_size(self) -> int:
        """`S`."""
        return self.index.moments.shape[-1]

    @property
    def offsets(self) -> np.ndarray:
        """`(E + 1,)` first step of each episode, and the end."""
        return self.index.offsets

    @property
    def lengths(self) -> np.ndarray:
        """`(E,)` steps of each episode."""
        return np.diff(self.offsets)

    def lengths_of(self, episode: np.ndarray) -> np.ndarray:
        """Steps of some episodes."""
        return self.offsets[episode + 1] - self.offsets[episode]

    def of_task(self, task: int) -> "Episodes":
        """The episodes of one task, sharing memory."""
        first, last = np.searchsorted(self.task, [task, task + 1])
        index = {name: values[first:last] for name, values in vars(self.index).items() if name != "offsets"}
        offsets = self.offsets[first : last + 1]
        return Episodes(
            self.steps[offsets[0] : offsets[-1]],
            Index(offsets=offsets - offsets[0], **index),
            np.zeros(last - first, np.int64),
            self.scales[[task]],
        )


def step_rows(demonstration: Demonstration) -> np.ndarray:
    """`(T, S + 2 A + 1)` float32, as `Episodes` keeps them."""
    to_go = returns_to_go(demonstration.rewards)[:, None]
    return np.concatenate([demonstration.states, demonstration.actions, demonstration.labels, to_go], axis=1).astype(np.float32)


def returns_to_go(rewards: np.ndarray) -> np.ndarray:
    """Undiscounted future reward at each step; entry t is `sum(rewards[t:])`.

    Args:
        rewards: `(T,)` environment reward per step.

    Source: Chen et al. 2021 (Decision Transformer), section 3.

    >>> returns_to_go(np.array([1.0, 2.0, 3.0])).tolist()
    [6.0, 5.0, 3.0]
    """
    return rewards[::-1].cumsum()[::-1]


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
    def of(cls, episodes: Episodes, members: np.ndarray, low: np.ndarray, high: np.ndarray) -> "Statistics":
        """From the episodes trained on; an action box without bounds is replaced by the range of the demonstrated actions.

        Args:
            episodes: all there are.
            members: those to take.
            low: `(A,)` of the action box.
            high: `(A,)` of the action box.

        Source: Chan et al. 1979 for the variance of parts put together.
        """
        count, mean, squares = 0.0, np.zeros(episodes.state_size), np.zeros(episodes.state_size)
        lowest, highest = np.full(len(low), np.inf), np.full(len(high), -np.inf)
        for part in np.array_split(members, -(-len(members) // 4096)):  # in pieces: there may be more than memory holds
            lengths, (means, spreads) = episodes.lengths_of(part)[:, None], episodes.index.moments[part].swapaxes(0, 1)
            added = float(lengths.sum())
            own_mean = (lengths * means).sum(axis=0) / added
            own_squares = (spreads + lengths * np.square(means - own_mean)).sum(axis=0)
            squares += own_squares + np.square(own_mean - mean) * count * added / (count + added)
            mean += (own_mean - mean) * added / (count + added)
            count += added
            ranges = episodes.index.ranges[part]
            lowest, highest = np.minimum(lowest, ranges[:, 0].min(axis=0)), np.maximum(highest, ranges[:, 1].max(axis=0))
        std = np.sqrt(squares / count)
        low, high = np.where(np.isfinite(low), low, lowest), np.where(np.isfinite(high), high, highest)
        half = (high - low) / 2
        return cls(
            state_mean=mean.astype(np.float32),
            state_std=np.where(std < 1e-6, 1.0, std).astype(np.float32),
            action_mid=((high + low) / 2).astype(np.float32),
            action_half=np.where(half < 1e-6, 1.0, half).astype(np.float32),
        )
