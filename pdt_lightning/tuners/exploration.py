"""From a reward model to the next choice: what to try, slot by slot."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np

from pdt_lightning.core.guests import find
from pdt_lightning.tuners.base import OPTIONS, Choice
from pdt_lightning.tuners.reward_models import RewardModel


def best_choice(terms: np.ndarray, taken: Sequence[Choice] = ()) -> Choice:
    """The best segment of every slot; where that choice is taken, the best one that differs from it in one slot.

    Args:
        terms: `(J, N)` of every segment in every slot.
        taken: choices that are not wanted again, fewer than `N`.

    >>> best_choice(np.array([[0.0, 2.0, 1.0], [5.0, 0.0, 0.0]]), [(1, 0)])
    (2, 0)
    """
    best = terms.argmax(axis=1)
    if tuple(best.tolist()) not in taken:
        return tuple(best.tolist())
    slots, count = np.arange(len(terms)), min(len(taken) + 1, terms.shape[1])
    order = np.argpartition(-terms, count - 1, axis=1)[:, :count]
    order = np.take_along_axis(
        order, np.argsort(-np.take_along_axis(terms, order, axis=1), axis=1, kind="stable"), axis=1
    )
    lost = terms[slots, best][:, None] - terms[slots[:, None], order]
    for place in np.argsort(lost, axis=None, kind="stable"):
        slot, rank = np.unravel_index(place, lost.shape)
        other = [*best.tolist()]
        other[slot] = int(order[slot, rank])
        if tuple(other) not in taken:
            return tuple(other)
    return tuple(best.tolist())


class Exploration(ABC):
    """Chooses a segment for every slot."""

    @abstractmethod
    def choose(self, model: RewardModel, progress: float, rng: np.random.Generator, taken: Sequence[Choice]) -> Choice:
        """Segments to try.

        Args:
            model: fitted to what is known.
            progress: share of the budget that is spent, in [0, 1).
            rng: for what is left to chance.
            taken: choices whose outcomes are still open.
        """


class Thompson(Exploration):
    """Thompson sampling: the best choice under one draw from the posterior.

    Source: Thompson 1933; Rietz et al. 2025 for prompts.
    """

    def choose(self, model: RewardModel, progress: float, rng: np.random.Generator, taken: Sequence[Choice]) -> Choice:
        """The argmax of each slot's sampled terms."""
        return best_choice(model.sample(rng), taken)


class UCB(Exploration):
    """Upper confidence bounds: the best choice if every term is as good as it may well be.

    Args:
        width: of the bound, in standard deviations of what the model still holds possible.

    What is still open counts as known where the model can tell what it will teach, so that what is tried at once is not
    all alike.

    Source: Li et al. 2010 (LinUCB), Zhou et al. 2020 (NeuralUCB); Desautels et al. 2014 for the open ones; the width is
    ours.
    """

    def __init__(self, width: float = 1.0):
        self.width = width

    def choose(self, model: RewardModel, progress: float, rng: np.random.Generator, taken: Sequence[Choice]) -> Choice:
        """The argmax of each slot's bounds; a random choice while all are alike."""
        bounds = model.mean() + self.width * model.deviation(taken)
        if np.ptp(bounds) < 1e-12:
            bounds = rng.random(bounds.shape)
        return best_choice(bounds, taken)


class EpsilonGreedy(Exploration):
    """A uniform choice with probability epsilon, else the best one by the model's mean; epsilon falls 1 → 0.

    Args:
        share: of the budget over which epsilon falls.

    Source: Rietz et al. 2025, public code.
    """

    def __init__(self, share: float = 0.2):
        self.share = share

    def choose(self, model: RewardModel, progress: float, rng: np.random.Generator, taken: Sequence[Choice]) -> Choice:
        """Uniform or greedy."""
        if rng.random() < 1 - progress / self.share:
            return best_choice(rng.random((model.slots, len(model.features))), taken)
        return best_choice(model.mean(), taken)


def sparsemax(values: np.ndarray) -> np.ndarray:
    """Probabilities nearest to values, those of the low ones exactly zero: their projection onto the simplex.

    Args:
        values: `(..., N)`; a constant added to all changes nothing.

    Returns:
        `(..., N)`, of sum 1.

    Source: Martins and Astudillo 2016 (arXiv 1602.02068), algorithm 1.

    >>> sparsemax(np.array([1.0, 0.75, 0.0])).tolist()
    [0.625, 0.375, 0.0]
    """
    values = values - values.max(axis=-1, keepdims=True)
    falling = -np.sort(-values, axis=-1)
    excess = falling.cumsum(axis=-1) - 1  # of the highest ones over the sum that they are to have
    ranks = np.arange(1, values.shape[-1] + 1)
    support = (ranks * falling > excess).sum(axis=-1, keepdims=True)
    return np.maximum(values - np.take_along_axis(excess, support - 1, axis=-1) / support, 0)


class Sparsemax(Exploration):
    """Draws every slot's segment from the sparsemax of the expected terms: what is far from the best is never tried.

    Args:
        temperature: by which terms are divided, in standard deviations of the outcomes. With the default a segment that
            is expected to fall short of the best by one or more has no chance, and of equally good ones all have the
            same.

    It knows no doubt: what is drawn follows from the means alone.

    Source: the policy of RLPrompt with sparse Tsallis entropy (arXiv 2407.14733); the temperature is ours.
    """

    def __init__(self, temperature: float = 1.0):
        self.temperature = temperature

    def choose(self, model: RewardModel, progress: float, rng: np.random.Generator, taken: Sequence[Choice]) -> Choice:
        """One draw: the largest of the logarithms of probabilities with Gumbel noise."""
        probabilities = sparsemax(model.mean() / self.temperature)
        with np.errstate(divide="ignore"):
            return best_choice(np.log(probabilities) + rng.gumbel(size=probabilities.shape), taken)


EXPLORATIONS: dict[str, type[Exploration]] = {
    "thompson": Thompson,
    "ucb": UCB,
    "epsilon_greedy": EpsilonGreedy,
    "sparsemax": Sparsemax,
}
ExplorationName = Literal["thompson", "ucb", "epsilon_greedy", "sparsemax"] | str  # one of them, or a guest


def exploration_class(name: str) -> type[Exploration]:
    """The exploration called `name`.

    It is one of `EXPLORATIONS`, an entry point of `pdt_lightning.explorations`, or a class path.
    """
    return find(f"`{OPTIONS}.exploration`", name, EXPLORATIONS, "pdt_lightning.explorations", Exploration)
