"""What is held of segments before the first rollout, as a prior of any reward model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtri

from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import Choice
from pdt_lightning.tuners.features import made_once
from pdt_lightning.tuners.references import References, least_loss
from pdt_lightning.tuners.reward_models import RewardModel

SLOPE = (
    1.0  # what a standard deviation of the score is worth before any outcome, in standard deviations of the outcomes
)
DOUBT = 1.0  # standard deviation of that


@dataclass(frozen=True)
class Prior:
    """What is held of segments before the first rollout.

    Args:
        scores: `(N,)` of the segments, more is better, in any unit.
        best: the prompt that is held best.
    """

    scores: np.ndarray
    best: Choice


def from_demonstrations(segments: Segments, policy: Policy, slots: int) -> Prior:
    """By how well a segment lets the frozen transformer predict the task's best demonstrations."""

    def made() -> Prior:
        references = References(segments, policy)
        losses = references.of_segments(slots)
        return Prior(-losses, least_loss(references, losses, slots))

    return made_once(("prior", slots), segments, policy, made)


PRIORS: dict[str, Callable[[Segments, Policy, int], Prior | None]] = {
    "demonstrations": from_demonstrations,
    "none": lambda segments, policy, slots: None,
}
PriorName = Literal["demonstrations", "none"]


def prior_maker(name: PriorName) -> Callable[[Segments, Policy, int], Prior | None]:
    """What makes the prior called `name`."""
    return PRIORS[name]


def normal_scores(scores: np.ndarray) -> np.ndarray:
    """Standard normal quantiles of the ranks of `scores (N,)`, so that neither unit nor outliers matter; ties are equal.

    >>> normal_scores(np.array([3.0, -1e9, 1e9])).round(2).tolist()
    [0.0, -0.97, 0.97]
    """
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts + 1) / 2  # mean rank of those that are equal, from 0
    return ndtri((ranks[place] + 0.5) / len(scores))


class Informed(RewardModel):
    """A reward model around a prior: returns are expected in proportion to the score, and how much it is worth is learned.

    A score that misleads is found out, since it is one of the features that the model inside learns from: its weight
    there is what the outcomes say against `SLOPE`.

    Args:
        model: makes the reward model inside from features `(N, F)`.
        features: `(N, F)` of all segments.
        slots: `J`.
        scores: `(N,)` of all segments, more is better.
    """

    def __init__(
        self, model: Callable[[np.ndarray], RewardModel], features: np.ndarray, slots: int, scores: np.ndarray
    ):
        super().__init__(features, slots)
        scores = normal_scores(scores)
        self.model = model(np.column_stack([features, DOUBT * scores]))
        self.expected = np.tile(SLOPE * scores / slots, (slots, 1))  # (J, N)

    def fit(self, choices: np.ndarray, returns: np.ndarray, rng: np.random.Generator) -> None:
        """Fit the model inside to what the score leaves unexplained."""
        self.model.fit(choices, returns - self.expected[np.arange(self.slots), choices].sum(axis=1), rng)

    def mean(self) -> np.ndarray:
        """Of both together."""
        return self.expected + self.model.mean()

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Of both together."""
        return self.expected + self.model.sample(rng)

    def deviation(self, expected: Sequence[Choice] = ()) -> np.ndarray:
        """Of the model inside, which alone is in doubt."""
        return self.model.deviation(expected)
