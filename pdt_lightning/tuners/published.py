"""The published bandit, as its public code has it: the rival that ours is measured by."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from pdt_lightning.core.plain import plain
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import Choice, SegmentTuner
from pdt_lightning.tuners.exploration import EpsilonGreedy
from pdt_lightning.tuners.features import features as features_of_segments
from pdt_lightning.tuners.perceptrons import Perceptrons
from pdt_lightning.tuners.reward_models import RewardModel

BLOCK = 32  # rows: of a few sizes, so that many fits have the same one and are made together
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


class PublishedModel(RewardModel):
    """A perceptron 16-16 for each slot, credited with the whole return, refitted from its first weights every time.

    1,000 full-batch steps of SGD on the mean squared error. Rollouts of the same segment are one row that weighs as
    much, which changes no gradient.

    Args:
        features: `(N, F)` of all segments.
        slots: `J`.
        rng: of the first weights, drawn as PyTorch's linear layers draw theirs.
        rate: of the descent.

    Source: Rietz et al. 2025, public code.
    """

    STEPS = 1000

    def __init__(self, features: np.ndarray, slots: int, rng: np.random.Generator, rate: float):
        super().__init__(features, slots)
        self.rate = rate
        self.inputs = (features * np.sqrt(features.shape[1])).astype(np.float32)  # of about unit size each
        self.nets = Perceptrons((slots,), features.shape[1])
        shapes = zip(self.nets.fans, self.nets.shapes, strict=True)
        self.first = [rng.uniform(-(fan_in**-0.5), fan_in**-0.5, shape).astype(np.float32) for fan_in, shape in shapes]
        self._terms = np.zeros((slots, len(features)))

    def fit(self, choices: np.ndarray, returns: np.ndarray, rng: np.random.Generator) -> None:
        """From the first weights; nothing is left to chance."""
        self.fit_together([self], [self.rows(choices, returns)])

    @classmethod
    def fit_together(cls, models: Sequence["PublishedModel"], rows: Sequence[Rows]) -> None:
        """Fit models of one size, one rate and as many rows, each to its own: a step is many small products at once."""
        first = models[0]
        inputs, targets, weights = (np.stack(parts) for parts in zip(*rows, strict=True))
        nets = Perceptrons((len(models), first.slots), inputs.shape[-1])
        for number, part in enumerate(nets.parts):
            part[:] = np.stack([model.first[number] for model in models])
        for _ in range(cls.STEPS):
            nets.differentiate((nets(inputs) - targets) * weights)
            nets.parameters -= first.rate * nets.gradient
        for place, model in enumerate(models):
            for part, own in zip(nets.parts, model.nets.parts, strict=True):
                own[:] = part[place]
            model._terms = model.nets(model.inputs).astype(np.float64)

    def rows(self, choices: np.ndarray, returns: np.ndarray) -> Rows:
        """Inputs `(J, n, F)`, mean returns and weights `(J, n)` of each slot's distinct segments.

        Those added have no weight.
        """
        found = [np.unique(column, return_inverse=True, return_counts=True) for column in choices.T]
        size = -(-max(len(segments) for segments, _, _ in found) // BLOCK) * BLOCK
        inputs = np.zeros((len(found), size, self.inputs.shape[1]), np.float32)
        targets, weights = np.zeros((2, len(found), size), np.float32)
        for slot, (segments, inverse, counts) in enumerate(found):
            own = slice(len(segments))
            inputs[slot, own] = self.inputs[segments]
            targets[slot, own] = np.bincount(inverse, returns) / counts
            weights[slot, own] = 2 * counts / len(returns)
        return inputs, targets, weights

    def mean(self) -> np.ndarray:
        """What each slot's perceptron expects."""
        return self._terms

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """The same: it knows nothing of what else is possible."""
        return self._terms

    def deviation(self, expected: Sequence[Choice] = ()) -> np.ndarray:
        """None."""
        return np.zeros_like(self._terms)


class PublishedBandit(SegmentTuner):
    """Epsilon-greedy over 250 rounds, whatever the slots share; recommends the greedy choice.

    Returns are standardised, which the public code does not do: on raw ones of 552 ± 5 the fit fails.

    Args:
        segments: the arms.
        budget: rollouts.
        rng: its only source of randomness.
        slots: `J`.
        features: `(N, F)` of the segments.
        rate: of the perceptrons' descent.

    Source: Rietz et al. 2025 (arXiv 2502.06358), public code; the rate is ours, since the features' scale is, and was
    tuned on training tasks by `benchmarks/rivals.py`.
    """

    def __init__(
        self,
        segments: Segments,
        budget: int,
        rng: np.random.Generator,
        slots: int,
        features: np.ndarray,
        rate: float = 0.02,
    ):
        super().__init__(segments, budget, rng, slots)
        self.model, self.exploration = PublishedModel(features, slots, rng, rate), EpsilonGreedy()
        self._fitted = 0
        self._mean, self._spread = 0.0, 1.0

    @classmethod
    def make(cls, segments: Segments, budget: int, rng: np.random.Generator, slots: int, policy: Policy) -> Self:  # type: ignore[override]
        """With raw features, which the papers report first."""
        return cls(segments, budget, rng, slots, features_of_segments("raw", segments, policy))

    def _fit(self) -> None:
        self.prepare([self])

    @classmethod
    def prepare(cls, tuners: Sequence[Self]) -> None:
        """Fit all that have been told something, those with as many rows together."""
        groups: dict[tuple, list[tuple[PublishedModel, Rows]]] = {}
        for tuner in tuners:
            if len(tuner.outcomes) != tuner._fitted:
                tuner._fitted = len(tuner.outcomes)
                outcomes = np.array(tuner.outcomes)
                tuner._mean, tuner._spread = float(outcomes.mean()), float(outcomes.std()) or 1.0
                rows = tuner.model.rows(np.array(tuner.choices), (outcomes - tuner._mean) / tuner._spread)
                groups.setdefault((rows[0].shape, tuner.model.rate), []).append((tuner.model, rows))
        for group in groups.values():
            PublishedModel.fit_together(*zip(*group, strict=True))

    def _propose(self, n: int) -> list[Choice]:
        proposed: list[Choice] = []
        self._fit()
        for number in range(self.asked, self.asked + n):
            open_ones = [*self.pending.values(), *proposed]
            proposed.append(self.exploration.choose(self.model, number / self.budget, self.rng, open_ones))
        return proposed

    def _predict(self, proposals: Sequence[Choice]) -> Sequence[float]:
        return [self._value(choice) for choice in proposals] if self._fitted else super()._predict(proposals)

    def _value(self, choice: Choice) -> float:
        """The mean of what the slots expect, each of which expects the whole return."""
        return self._mean + self._spread * float(self.model.mean()[np.arange(self.slots), list(choice)].mean())

    def _best(self) -> tuple[Choice, float]:
        self._fit()
        choice = tuple(self.model.mean().argmax(axis=1).tolist())
        return choice, self._value(choice)

    def estimates(self) -> np.ndarray | None:
        """What each slot's perceptron expects of the return."""
        self._fit()
        return self._mean + self._spread * self.model.mean() if self._fitted else None

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner, and the perceptrons' first weights."""
        return {**super().state_dict(), "first": plain(self.model.first)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave; the perceptrons are fitted again."""
        super().load_state_dict(state)
        self.model.first, self._fitted = [np.array(part, np.float32) for part in state["first"]], 0
