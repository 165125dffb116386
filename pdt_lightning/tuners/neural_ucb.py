"""INSTINCT: upper confidence bounds by a wide perceptron on what the frozen transformer makes of prompts."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np

from pdt_lightning.core.plain import plain
from pdt_lightning.core.ranges import PositiveInt
from pdt_lightning.core.seeding import generator
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import Choice, SegmentTuner
from pdt_lightning.tuners.features import FeaturesName, feature_maker
from pdt_lightning.tuners.features import features as features_of_segments
from pdt_lightning.tuners.recommend import as_shares, worths
from pdt_lightning.tuners.spaces import Listed

HIDDEN = 100  # units
STEPS, RATE = 1000, 1e-3  # of Adam, in every round
DECAY = 0.1  # `lambda`; over the number of rollouts it decays the weights
WIDTH = 1.0  # `nu`, of the bounds
POOL, SCORED = 10_000, 1000  # prompts of several segments that there are, and prompts that are scored in a round


class Perceptron:
    """`F → HIDDEN → 1` with ReLU, its parameters in one vector of `P = (F + 2) HIDDEN + 1` numbers.

    Args:
        inputs: `F`.
        rng: of the first weights and biases, all of them standard normal.
    """

    def __init__(self, inputs: int, rng: np.random.Generator):
        self.first = rng.standard_normal((inputs + 2) * HIDDEN + 1)
        self.parameters = self.first.copy()

    @staticmethod
    def parts(vector: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Views of a vector of `P`: weights `(F, HIDDEN)` and biases, then weights `(HIDDEN,)` and bias."""
        w1, b1, w2, b2 = np.split(vector, np.cumsum([len(vector) - 1 - 2 * HIDDEN, HIDDEN, HIDDEN]))
        return w1.reshape(-1, HIDDEN), b1, w2, b2

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """`(n,)` outputs of inputs `(n, F)`."""
        w1, b1, w2, b2 = self.parts(self.parameters)
        return np.maximum(inputs @ w1 + b1, 0) @ w2 + b2

    def _derivatives(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`(n, HIDDEN)` of the outputs: by the second layer's weights, and by the first layer's biases."""
        w1, b1, w2, _ = self.parts(self.parameters)
        hidden = np.maximum(inputs @ w1 + b1, 0)
        return hidden, w2 * (hidden > 0)

    def gradient(self, inputs: np.ndarray) -> np.ndarray:
        """`(P,)` of the output of one input `(F,)`."""
        hidden, inner = (part[0] for part in self._derivatives(inputs[None]))
        return np.concatenate([np.outer(inputs, inner).ravel(), inner, hidden, [1.0]])

    def deviations(self, inputs: np.ndarray, known: np.ndarray) -> np.ndarray:
        """`(n,)` root of the sum of each output's squared gradient, each entry over that of `known (P,)`."""
        hidden, inner = (np.square(part) for part in self._derivatives(inputs))
        w1, b1, w2, b2 = self.parts(1 / known)
        return np.sqrt(((np.square(inputs) @ w1 + b1) * inner).sum(axis=1) + hidden @ w2 + b2)

    def fit(self, inputs: np.ndarray, targets: np.ndarray) -> None:
        """Adam from the first weights, on the mean squared error, with the decay added to the gradient."""
        self.parameters = parameters = self.first.copy()
        w1, b1, w2, b2 = self.parts(parameters)
        gradient, mean, square = np.zeros((3, len(parameters)))
        for_w1, for_b1, for_w2, for_b2 = self.parts(gradient)
        for step in range(1, STEPS + 1):
            hidden = np.maximum(inputs @ w1 + b1, 0)
            errors = 2 / len(targets) * (hidden @ w2 + b2 - targets)
            inner = errors[:, None] * w2 * (hidden > 0)
            np.matmul(inputs.T, inner, out=for_w1)
            for_b1[:], for_w2[:], for_b2[:] = inner.sum(axis=0), errors @ hidden, errors.sum()
            gradient += DECAY / len(targets) * parameters
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (np.square(gradient) - square)
            size = np.sqrt(square / (1 - 0.999**step)) + 1e-8
            parameters -= RATE / (1 - 0.9**step) * mean / size


class NeuralUCB(SegmentTuner):
    """Random prompts first, then that of the highest bound among random ones; recommends the best of those tried.

    The perceptron is refitted from its first weights in every round. It learns values between 0, the worst that is
    known, and 1, the best: there they are accuracies. The recommendation is by `recommend.worth`, as that of random
    search: of prompts that were tried once it is the best rollout's, as published.

    Args:
        segments: the arms.
        budget: rollouts.
        rng: its only source of randomness.
        slots: `J`. Where it is 1 the prompts are all segments, else `POOL` random ones.
        features: `(N, F)` of the segments, slot beside slot; by name `encoded` | `raw`.
        starts: random prompts that are tried first; by default all is as published.

    Source: Lin et al. 2024 (INSTINCT, arXiv 2310.02905), public code, whose constants these are.
    """

    space: Listed
    named: ClassVar = {"features": feature_maker}

    def __init__(
        self,
        segments: Segments,
        budget: int,
        rng: np.random.Generator,
        slots: int,
        features: np.ndarray,
        starts: PositiveInt = 40,
    ):
        super().__init__(segments, budget, rng, slots)
        self.features, self.starts = features, starts
        self._begin(int(rng.integers(2**31)))

    @classmethod
    def make(  # type: ignore[override]
        cls,
        segments: Segments,
        budget: int,
        rng: np.random.Generator,
        slots: int,
        policy: Policy,
        features: FeaturesName = "encoded",
        starts: PositiveInt = 40,
    ) -> Self:
        """With the features that the policy's transformer gives."""
        return cls(segments, budget, rng, slots, features_of_segments(features, segments, policy), starts)

    def _begin(self, seed: int) -> None:
        self.seed, rng = seed, generator(seed, "neural_ucb")
        self.space = Listed.drawn(self.segments, self.slots, POOL, rng)
        self.pick = self.space.sample(rng)  # what it recommends before it knows anything
        self.model = Perceptron(self.features.shape[1] * self.slots, rng)
        self.known = np.full(len(self.model.first), DECAY)  # `U`, the diagonal
        self._fitted = 0  # number of outcomes the model has seen

    def _inputs(self, prompts: Sequence[int] | np.ndarray) -> np.ndarray:
        """`(n, J·F)` of prompts, standardised by those that were tried."""
        of_tried, wanted = (
            self.features[self.space.choices[numbers]].reshape(len(numbers), -1)
            for numbers in ([prompt for (prompt,) in self.choices], np.asarray(prompts))
        )
        spread = of_tried.std(axis=0, ddof=1) if len(of_tried) > 1 else np.zeros(of_tried.shape[1])
        return (wanted - of_tried.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)

    def _fit(self) -> None:
        if self._fitted != len(self.outcomes):
            self._fitted = len(self.outcomes)
            self.model.fit(self._inputs([prompt for (prompt,) in self.choices]), as_shares(self.outcomes, self.outlook))

    def _propose(self, n: int) -> list[Choice]:
        return [
            self._highest() if number >= self.starts and self.outcomes else self.space.sample(self.rng)
            for number in range(self.asked, self.asked + n)
        ]

    def _highest(self) -> Choice:
        """Of the highest bound; what will be learned there narrows the bounds at once."""
        self._fit()
        count = len(self.space.choices)
        scored = self.rng.choice(count, SCORED, replace=False) if count > SCORED else np.arange(count)
        inputs = self._inputs(scored)
        best = int((self.model(inputs) + np.sqrt(DECAY * WIDTH) * self.model.deviations(inputs, self.known)).argmax())
        self.known += np.square(self.model.gradient(inputs[best]))
        return (int(scored[best]),)

    def _best(self) -> tuple[Choice, float]:
        tried = worths(self.choices, self.outcomes)
        best = max(tried, key=lambda choice: tried[choice], default=self.pick)
        return best, tried.get(best, float("nan"))

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner, the seed, and what narrows the bounds; the model is fitted again."""
        return {**super().state_dict(), "seed": self.seed, "known": plain(self.known)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._begin(state["seed"])
        super().load_state_dict(state)
        self.known = np.array(state["known"])
