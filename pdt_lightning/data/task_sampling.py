"""Which tasks the rows of training batches are of: all alike, or some of them more often."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pdt_lightning.core.seeding import generator
from pdt_lightning.data.option_types import TaskSamplingName
from pdt_lightning.data.success_posterior import SuccessPosterior

UNIFORM = 0.25  # share of the rows that is spread evenly over all tasks, so that none is forgotten


def balanced_tasks(seed: int, first: int, count: int, tasks: int) -> np.ndarray:
    """Tasks of samples `first` to `first + count - 1` of the endless stream: one permutation after another.

    >>> sorted(balanced_tasks(0, 3, 6, 3)[:3].tolist())
    [0, 1, 2]
    """
    passes = range(first // tasks, (first + count - 1) // tasks + 1)
    order = np.concatenate([generator(seed, "task order", p).permutation(tasks) for p in passes])
    skip = first - passes[0] * tasks
    return order[skip : skip + count]


def shares_of(weights: Sequence[float]) -> np.ndarray:
    """`(T,)` shares of the rows, in proportion to weights but for a part that all tasks have alike.

    >>> shares_of([3.0, 1.0, 0.0, 0.0]).tolist()
    [0.625, 0.25, 0.0625, 0.0625]
    >>> shares_of([0.0, 0.0]).tolist()
    [0.5, 0.5]
    """
    values = np.array(weights, float)
    even = np.full(len(values), 1 / len(values))
    return UNIFORM * even + (1 - UNIFORM) * values / values.sum() if values.sum() > 0 else even


class TaskSampling:
    """Draws the tasks of each batch, as a function of seed, number of the batch and what was measured last.

    Args:
        name: `uniform`, or by what is measured at the end of each epoch for the next one, while the first is uniform:
            `sensitivity`, in proportion to each task's prompt sensitivity, or `success`, in proportion to how near its
            rate of success is to one half.
        tasks: `T`, number of training tasks.
        seed: of the batches.

    Attributes:
        has_player: whether somebody plays the training tasks, as `success` asks for.

    Sources: after Active Instruction Tuning (Kung et al. 2023, arXiv 2311.00288), which adds the tasks of highest
    prompt uncertainty to those trained on; and after MoPPS (Qu et al. 2025, arXiv 2507.04632), which takes those whose
    success is nearest to one half.
    """

    def __init__(self, name: TaskSamplingName, tasks: int, seed: int):
        self.name, self.tasks, self.seed = name, tasks, seed
        self.epoch = 0  # that what was measured is for
        self.weights: list[float] | None = None  # (T,); None: not measured yet
        self.posterior = SuccessPosterior(tasks) if name == "success" else None
        self.has_player = False

    def is_due(self, epoch: int) -> bool:
        """Whether what tasks are drawn by has to be measured for this epoch."""
        return self.name != "uniform" and epoch > self.epoch

    def follow(self, weights: Sequence[float], epoch: int) -> None:
        """Draw in proportion to these weights `(T,)` from this epoch on."""
        self.weights, self.epoch = [float(value) for value in weights], epoch

    def follow_success(self, successes: Sequence[float], episodes: int, epoch: int) -> None:
        """Learn from so many episodes of each task, whose successes sum up to `(T,)`, and draw by what is then held."""
        assert self.posterior is not None
        self.posterior.learn(successes, episodes)
        self.follow(self.posterior.nearness().tolist(), epoch)

    def shares(self) -> np.ndarray:
        """`(T,)` of each task in the rows."""
        return shares_of(self.weights or [0.0] * self.tasks)

    def draw(self, batch: int, size: int) -> np.ndarray:
        """`(size,)` tasks of the rows of the global batch of this number.

        By shares, each task has the whole rows on both sides of `size` times its share, as in systematic resampling,
        which adds less noise to the gradient than independent draws.
        """
        if self.weights is None:
            return balanced_tasks(self.seed, batch * size, size, self.tasks)
        rng = generator(self.seed, "tasks by share", batch)
        places = (rng.random() + np.arange(size)) / size
        drawn = np.searchsorted(self.shares().cumsum(), places, side="right")
        return rng.permutation(drawn.clip(max=self.tasks - 1))  # a sum of shares may round to less than 1

    def state_dict(self) -> dict[str, Any]:
        """Plain values; none where tasks are drawn uniformly."""
        if self.name == "uniform":
            return {}
        known = {} if self.posterior is None else {"posterior": self.posterior.state_dict()}
        return {"task_sampling": {"epoch": self.epoch, "weights": self.weights, **known}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        saved = state.get("task_sampling", {"epoch": 0, "weights": None})
        self.epoch, self.weights = saved["epoch"], saved["weights"]
        if self.posterior is not None and "posterior" in saved:
            self.posterior.load_state_dict(saved["posterior"])
