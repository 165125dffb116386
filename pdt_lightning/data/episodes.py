"""Episodes: the demonstrations of many tasks as flat arrays with offsets.

The arrays are in memory or mapped from a file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

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
        ended: `(E,)` bool, whether the environment ended the episode.
        rounding: `(E, S)` float64: how far float32 is off the states at most.
    """

    offsets: np.ndarray
    returns: np.ndarray
    successes: np.ndarray
    moments: np.ndarray
    ranges: np.ndarray
    ended: np.ndarray
    rounding: np.ndarray

    @classmethod
    def of(cls, demonstrations: Sequence[Demonstration]) -> "Index":
        """Of episodes in memory."""
        states = [episode.states.astype(np.float64) for episode in demonstrations]
        return cls(
            offsets=np.concatenate([[0], np.cumsum([len(episode.rewards) for episode in demonstrations])]).astype(
                np.int64
            ),
            returns=np.array([float(episode.rewards.sum()) for episode in demonstrations]),
            successes=np.array([np.nan if episode.success is None else episode.success for episode in demonstrations]),
            moments=np.array(
                [(values.mean(axis=0), np.square(values - values.mean(axis=0)).sum(axis=0)) for values in states]
            ),
            ranges=np.array([(episode.actions.min(axis=0), episode.actions.max(axis=0)) for episode in demonstrations]),
            ended=np.array([episode.ended for episode in demonstrations]),
            rounding=np.array([np.abs(values - values.astype(np.float32)).max(axis=0) for values in states]),
        )

    @classmethod
    def joined(cls, parts: Sequence["Index"]) -> "Index":
        """Of the episodes of several, one after the other."""
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        others = [field.name for field in fields(cls) if field.name != "offsets"]
        return cls(
            np.concatenate([[0], lengths.cumsum()]).astype(np.int64),
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in others},
        )

    def spread(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation `(S,)` of the states of some episodes.

        Source: Chan et al. 1979 for the variance of parts put together.
        """
        count, mean, squares = 0.0, np.zeros(self.moments.shape[-1]), np.zeros(self.moments.shape[-1])
        for part in np.array_split(members, -(-len(members) // 4096)):  # in pieces: there may be more than memory holds
            lengths, (means, spreads) = np.diff(self.offsets)[part][:, None], self.moments[part].swapaxes(0, 1)
            added = float(lengths.sum())
            own_mean = (lengths * means).sum(axis=0) / added
            own_squares = (spreads + lengths * np.square(means - own_mean)).sum(axis=0)
            squares += own_squares + np.square(own_mean - mean) * count * added / (count + added)
            mean += (own_mean - mean) * added / (count + added)
            count += added
        return mean, np.sqrt(squares / count)

    def needs_more_than_float32(self) -> bool:
        """Whether float32 would round away what differs between states, as where they lie far from zero."""
        mean, std = self.spread(np.arange(len(self.returns)))
        return bool((~never_changes(mean, std) & (self.rounding.max(axis=0) > 1e-2 * std)).any())


@dataclass(frozen=True)
class Episodes:
    """`M` steps of `E` episodes, one after the other; episodes of one task are neighbours.

    Args:
        steps: `(M, S + 2 A + 1)` float32: state, action as executed, action to learn, and return-to-go in the reward's
            unit; and `S` more, what float32 rounds away of the states, where that matters.
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
        return cls(
            np.concatenate([step_rows(episode) for episode in flat]), Index.of(flat), task, np.array(scales, np.float32)
        )

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

    def whole(self, horizon: int) -> np.ndarray:
        """`(E,)`: which episodes the environment ended or last to the horizon; all where none does.

        The returns of these compare.
        """
        whole = self.index.ended | (self.lengths >= horizon)
        return whole if whole.any() else ~whole

    def ranked(self) -> np.ndarray:
        """`(E,)` numbers of the episodes, the best first: by success, then by return; those cut off come last."""
        cut_off = ~self.whole(int(self.lengths.max()))
        return np.lexsort((-self.index.returns, -np.nan_to_num(self.index.successes), cut_off))

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

    def picked(self, numbers: Sequence[int]) -> "Episodes":
        """A copy of the episodes with these numbers, each of a task of its own, whatever the order."""
        parts = [self.steps[self.offsets[number] : self.offsets[number + 1]] for number in numbers]
        index = {name: values[list(numbers)] for name, values in vars(self.index).items() if name != "offsets"}
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        scales = self.scales[self.task[list(numbers)]]
        return Episodes(np.concatenate(parts), Index(offsets=offsets, **index), np.arange(len(parts)), scales)


def step_rows(demonstration: Demonstration, fine: bool = False) -> np.ndarray:
    """`(T, S + 2 A + 1)` float32, as `Episodes` keeps them; with `fine`, `S` more."""
    to_go = returns_to_go(demonstration.rewards)[:, None]
    columns = [demonstration.states, demonstration.actions, demonstration.labels, to_go]
    if fine:
        columns.append(demonstration.states - demonstration.states.astype(np.float32))
    return np.concatenate(columns, axis=1).astype(np.float32)


def returns_to_go(rewards: np.ndarray) -> np.ndarray:
    """Undiscounted future reward at each step; entry t is `sum(rewards[t:])`.

    Args:
        rewards: `(T,)` environment reward per step.

    Source: Chen et al. 2021 (Decision Transformer), section 3.

    >>> returns_to_go(np.array([1.0, 2.0, 3.0])).tolist()
    [6.0, 5.0, 3.0]
    """
    return rewards[::-1].cumsum()[::-1]


def never_changes(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """`(S,)`: which coordinates of the state vary by no more than their numbers are rounded, whatever their unit.

    Args:
        mean: `(S,)` of the states.
        std: `(S,)` of the states.

    >>> never_changes(np.array([1e6, 0.5, 0.0, 1.0]), np.array([0.5, 1e-8, 0.0, 1e-7])).tolist()
    [False, True, True, True]
    """
    size = np.abs(mean) + std
    return std <= np.maximum(1e-7 * size, 1e-15 * size.max(initial=0.0))
