"""Regression of the return on the segments of a prompt: one additive term a slot, `G ≈ phi_1(s_1) + ... + phi_J(s_J)`.

All work on standardised returns; raw ones, of 552 ± 5 say, defeat the regression.
Shapes: `n` rollouts, `J` slots, `N` segments, `F` features.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np

from pdt_lightning.core.guests import find
from pdt_lightning.tuners.base import OPTIONS, Choice


class RewardModel(ABC):
    """Learns the slots' terms.

    Args:
        features: `(N, F)` of all segments.
        slots: `J`.
    """

    def __init__(self, features: np.ndarray, slots: int):
        self.features, self.slots = features, slots

    @abstractmethod
    def fit(self, choices: np.ndarray, returns: np.ndarray, rng: np.random.Generator) -> None:
        """Learn from `choices (n, J)` and standardised `returns (n,)`."""

    @abstractmethod
    def mean(self) -> np.ndarray:
        """`(J, N)` expected term of every segment in every slot; zero before the first `fit`."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """`(J, N)` terms drawn from what the model still holds possible."""

    @abstractmethod
    def deviation(self, expected: Sequence[Choice] = ()) -> np.ndarray:
        """`(J, N)` standard deviation of such draws; one number for all before the first `fit`.

        Args:
            expected: choices whose outcomes will be known soon; models count them in whose doubt does not depend on
                what they are.
        """


class LinearModel(RewardModel):
    """Bayesian linear regression in closed form, in float64.

    The ratio of noise to prior variance is the one of highest evidence on a grid; the prior variance follows in closed
    form, held near 1 by `PRIOR_WEIGHT` pseudo-rollouts while there are few.

    Source: Bishop 2006, sections 3.3 and 3.5; Agrawal and Goyal 2013 for its posterior in Thompson sampling.
    """

    CONSTANT = 1.0  # a feature that all prompts have
    RATIOS = np.logspace(-2, 2, 13)
    PRIOR_WEIGHT = 2.0

    def __init__(self, features: np.ndarray, slots: int):
        # What was tried is better than most, so that the mean outcome is not that of the mean segment.
        super().__init__(np.column_stack([features, np.full(len(features), self.CONSTANT * slots**-0.5)]), slots)
        self._design = np.zeros((0, slots * self.features.shape[1]))  # (n, J·F), the rollouts seen
        # Of the returns' covariance, in units of the prior variance.
        self._vectors, self._spread = np.zeros((0, 0)), np.zeros(0)
        self._prior, self._noise = 1.0, 1.0  # variances
        self._mean = np.zeros((slots, len(features)))

    def fit(self, choices: np.ndarray, returns: np.ndarray, rng: np.random.Generator) -> None:
        """Posterior of all slots' weights together, so that each slot is credited with its own share alone.

        All follows from one spectrum, of the rollouts' `(n, n)` products: few rollouts stand against many weights.
        """
        self._design = self._rows(choices)
        values, self._vectors = np.linalg.eigh(self._design @ self._design.T)
        ratio, self._prior = self._evidence(values, returns)
        self._spread, self._noise = np.maximum(values, 0) + ratio, ratio * self._prior
        self._mean = self._terms(self._explained(returns))

    def _rows(self, choices: np.ndarray) -> np.ndarray:
        return self.features[choices].reshape(len(choices), -1)

    def _evidence(self, values: np.ndarray, returns: np.ndarray) -> tuple[float, float]:
        squares = np.square(self._vectors.T @ returns)
        spread = np.maximum(values, 0)[:, None] + self.RATIOS  # (n, ratios)
        n = len(returns)
        priors = ((squares[:, None] / spread).sum(axis=0) + self.PRIOR_WEIGHT) / (n + self.PRIOR_WEIGHT)
        evidence = -0.5 * (n + self.PRIOR_WEIGHT) * np.log(priors) - 0.5 * np.log(spread).sum(axis=0)
        best = int(evidence.argmax())
        return float(self.RATIOS[best]), float(priors[best])

    def _explained(self, returns: np.ndarray) -> np.ndarray:
        """`(J·F,)` posterior mean of the weights, had the rollouts brought these returns."""
        return self._design.T @ (self._vectors @ ((self._vectors.T @ returns) / self._spread))

    def mean(self) -> np.ndarray:
        """Posterior mean of the terms."""
        return self._mean

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Terms of weights drawn from the posterior: from the prior, then corrected by what they leave unexplained.

        Source: Doucet 2010; Wilson et al. 2020 (arXiv 2002.09309), section 3, for the rule of Matheron.
        """
        prior = np.sqrt(self._prior) * rng.standard_normal(self._design.shape[1])
        noise = np.sqrt(self._noise) * rng.standard_normal(len(self._design))
        return self._mean + self._terms(prior - self._explained(self._design @ prior + noise))

    def deviation(self, expected: Sequence[Choice] = ()) -> np.ndarray:
        """Of the posterior; all alike before there is any."""
        if not len(self._design):
            return np.ones((self.slots, len(self.features)))
        design, vectors, spread = self._design, self._vectors, self._spread
        if expected:
            design = np.concatenate([design, self._rows(np.array(expected))])
            values, vectors = np.linalg.eigh(design @ design.T)
            spread = np.maximum(values, 0) + self._noise / self._prior
        size, known = self.features.shape[1], np.zeros((self.slots, len(self.features)))
        for slot, own in enumerate(known):
            products = self.features @ design[:, slot * size : (slot + 1) * size].T  # (N, n)
            own += (np.square(products @ vectors) / spread).sum(axis=1)
        return np.sqrt(self._prior * np.maximum(np.square(self.features).sum(axis=1) - known, 0))

    def _terms(self, weights: np.ndarray) -> np.ndarray:
        return weights.reshape(self.slots, -1) @ self.features.T


class Apart(RewardModel):
    """A model for each slot by itself, each credited with the whole return, as published.

    A prompt is worth the mean of its slots'.

    Args:
        model: of which kind.
        features: `(N, F)` of all segments.
        slots: `J`.

    Source: Rietz et al. 2025 (arXiv 2502.06358), section 4.
    """

    def __init__(self, model: type[RewardModel], features: np.ndarray, slots: int):
        super().__init__(features, slots)
        self.models = [model(features, 1) for _ in range(slots)]

    def fit(self, choices: np.ndarray, returns: np.ndarray, rng: np.random.Generator) -> None:
        """Fit each to its slot's choices."""
        for slot, model in enumerate(self.models):
            model.fit(choices[:, [slot]], returns, rng)

    def mean(self) -> np.ndarray:
        """Of each."""
        return np.concatenate([model.mean() for model in self.models]) / self.slots

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """From each."""
        return np.concatenate([model.sample(rng) for model in self.models]) / self.slots

    def deviation(self, expected: Sequence[Choice] = ()) -> np.ndarray:
        """Of each."""
        known = [[(choice[slot],) for choice in expected] for slot in range(self.slots)]
        return (
            np.concatenate([model.deviation(own) for model, own in zip(self.models, known, strict=True)]) / self.slots
        )


REWARD_MODELS: dict[str, type[RewardModel]] = {"linear": LinearModel}
RewardModelName = Literal["linear"] | str  # one of them, or a guest


def reward_model_class(name: str) -> type[RewardModel]:
    """The reward model called `name`.

    It is one of `REWARD_MODELS`, an entry point of `pdt_lightning.reward_models`, or a class path.
    """
    return find(f"`{OPTIONS}.reward_model`", name, REWARD_MODELS, "pdt_lightning.reward_models", RewardModel)
