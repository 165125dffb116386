"""What is held of segments before the first rollout, as a prior of any reward model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import Choice
from pdt_lightning.tuners.features import made_once
from pdt_lightning.tuners.references import References, least_loss
from pdt_lightning.tuners.reward_models import RewardModel

SLOPE = 0.5  # prior mean of the slope: standard deviations of the outcome per standard deviation of the score
DOUBT = 1.0  # prior standard deviation of that slope
FARTHEST = 2.0  # scores are clipped at this many standard deviations from their mean


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


def standardised(scores: np.ndarray) -> np.ndarray:
    """Scores `(N,)` in standard deviations from their mean, `FARTHEST` at most: neither unit nor outliers matter.

    >>> standardised(np.array([3.0, 4.0, 5.0])).round(2).tolist()
    [-1.22, 0.0, 1.22]
    """
    spread = float(scores.std())
    alike = spread <= 1e-9 * np.abs(scores).max()  # but for rounding
    return ((scores - scores.mean()) / (np.inf if alike else spread)).clip(-FARTHEST, FARTHEST)


class Informed(RewardModel):
    """A reward model around a prior: returns are expected to rise with the score, and how much it is worth is learned.

    The score is also a feature of the model inside, whose weight for it corrects `SLOPE`. So the outcomes can show that
    a score misleads.

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
        self.scores = standardised(scores)
        self.model = model(np.column_stack([features, DOUBT * self.scores]))
        self.expect(SLOPE * self.scores.max())

    def expect(self, level: float) -> None:
        """Expect this standardised return where the score is highest, and less elsewhere; to be said before `fit`."""
        expected = level + SLOPE * (self.scores - self.scores.max())
        self.expected = np.tile(expected / self.slots, (self.slots, 1))  # (J, N)

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
