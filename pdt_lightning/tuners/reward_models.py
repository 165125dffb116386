"""Regression of the return on the segments of a prompt: one additive term a slot, `G ≈ phi_1(s_1) + ... + phi_J(s_J)`.

All work on standardised returns; raw ones, of 552 ± 5 say, defeat the regression.
Shapes: `n` rollouts, `J` slots, `N` segments, `F` features.
"""

from abc import ABC, abstractmethod
from itertools import pairwise

import numpy as np
import torch
from scipy.linalg import cho_solve, solve_triangular
from torch import Tensor


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
    def deviation(self) -> np.ndarray:
        """`(J, N)` standard deviation of such draws; one number for all before the first `fit`."""


class LinearModel(RewardModel):
    """Bayesian linear regression in closed form, in float64.

    The ratio of noise to prior variance is the one of highest evidence on a grid; the prior variance follows in closed form,
    held near 1 by `PRIOR_WEIGHT` pseudo-rollouts while there are few.

    Source: Bishop 2006, sections 3.3 and 3.5; Agrawal and Goyal 2013 for its posterior in Thompson sampling.
    """

    RATIOS = np.logspace(-2, 2, 13)
    PRIOR_WEIGHT = 2.0

    def __init__(self, features: np.ndarray, slots: int):
        super().__init__(features, slots)
        size = slots * features.shape[1]
        self._weights = np.zeros(size)
        self._factor = np.eye(size)  # upper Cholesky factor of the posterior precision, in units of the noise
        self._noise = 1.0

    def fit(self, choices: np.ndarray, returns: np.ndarray, rng: np.random.Generator) -> None:
        """Posterior of all slots' weights together, so that each slot is credited with its own share alone."""
        design = self.features[choices].reshape(len(choices), -1)
        ratio, prior = self._evidence(design, returns)
        precision = design.T @ design + ratio * np.eye(design.shape[1])
        self._factor = np.linalg.cholesky(precision).T
        self._weights = cho_solve((self._factor, False), design.T @ returns)
        self._noise = ratio * prior

    def _evidence(self, design: np.ndarray, returns: np.ndarray) -> tuple[float, float]:
        values, vectors = np.linalg.eigh(design @ design.T)
        squares = np.square(vectors.T @ returns)
        spread = np.maximum(values, 0)[:, None] + self.RATIOS  # (n, ratios)
        n = len(returns)
        priors = ((squares[:, None] / spread).sum(axis=0) + self.PRIOR_WEIGHT) / (n + self.PRIOR_WEIGHT)
        evidence = -0.5 * (n + self.PRIOR_WEIGHT) * np.log(priors) - 0.5 * np.log(spread).sum(axis=0)
        best = int(evidence.argmax())
        return float(self.RATIOS[best]), float(priors[best])

    def mean(self) -> np.ndarray:
        """Posterior mean of the terms."""
        return self._terms(self._weights)

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Terms of weights drawn from the posterior."""
        noise = solve_triangular(self._factor, rng.standard_normal(len(self._weights)), lower=False)
        return self._terms(self._weights + np.sqrt(self._noise) * noise)

    def deviation(self) -> np.ndarray:
        """Of the posterior."""
        size = self.features.shape[1]
        spread = []
        for slot in range(self.slots):
            own = np.zeros((size * self.slots, len(self.features)))
            own[slot * size : (slot + 1) * size] = self.features.T
            spread.append(np.square(solve_triangular(self._factor, own, trans="T", lower=False)).sum(axis=0))
        return np.sqrt(self._noise * np.array(spread)) if self._weights.any() else np.ones((self.slots, len(self.features)))

    def _terms(self, weights: np.ndarray) -> np.ndarray:
        return weights.reshape(self.slots, -1) @ self.features.T


class MLPModel(RewardModel):
    """An ensemble of perceptrons 16-16 for each slot, refitted from fresh weights each time; all members train together.

    Each member sees a bootstrap sample of the rollouts, so a member is a draw from what is still possible.

    Args:
        features: `(N, F)` of all segments.
        slots: `J`.
        members: of the ensemble.
        steps: full-batch updates a fit.

    Source: Rietz et al. 2025, public code, for the sizes; Osband et al. 2016 for the bootstrap.
    """

    HIDDEN = 16
    LEARNING_RATE = 0.02
    WEIGHT_DECAY = 1e-2

    def __init__(self, features: np.ndarray, slots: int, members: int = 5, steps: int = 200):
        super().__init__(features, slots)
        self.members, self.steps = members, steps
        # Inputs of about unit size each, as perceptrons like them.
        self._inputs = torch.from_numpy(features * np.sqrt(features.shape[1])).float()
        self._terms_of_members = np.zeros((members, slots, len(features)))

    # Inside a validation hook gradients are off, under `trainer.validate` even by inference mode.
    @torch.inference_mode(False)
    @torch.enable_grad()
    def fit(self, choices: np.ndarray, returns: np.ndarray, rng: np.random.Generator) -> None:
        """Train every member on its own bootstrap sample of the rollouts."""
        torch_rng = torch.Generator().manual_seed(int(rng.integers(2**31)))
        n, sizes = len(returns), (self._inputs.shape[1], self.HIDDEN, self.HIDDEN, 1)
        counts = rng.multinomial(n, np.full(n, 1 / n), size=self.members) if n > 1 else np.ones((self.members, n))
        weight = torch.from_numpy(counts).float()
        parameters = []
        for fan_in, fan_out in pairwise(sizes):
            matrix = torch.randn(self.members, self.slots, fan_in, fan_out, generator=torch_rng) * (2 / fan_in) ** 0.5
            parameters += [matrix.requires_grad_(), torch.zeros(self.members, self.slots, 1, fan_out, requires_grad=True)]
        optimizer = torch.optim.AdamW(parameters, lr=self.LEARNING_RATE, weight_decay=self.WEIGHT_DECAY)
        inputs = self._inputs[torch.from_numpy(choices)].transpose(0, 1)  # (J, n, F)
        targets = torch.from_numpy(returns).float()
        for _ in range(self.steps):
            predicted = _perceptrons(parameters, inputs).sum(dim=1)  # (members, n)
            loss = (weight * (predicted - targets).square()).sum() / n
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            self._terms_of_members = _perceptrons(parameters, self._inputs.expand(self.slots, -1, -1)).double().numpy()

    def mean(self) -> np.ndarray:
        """Mean over the members."""
        return self._terms_of_members.mean(axis=0)

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """One member; before there is any, anything is possible."""
        if not self._terms_of_members.any():
            return rng.standard_normal(self._terms_of_members.shape[1:])
        return self._terms_of_members[rng.integers(self.members)]

    def deviation(self) -> np.ndarray:
        """Over the members."""
        deviation = self._terms_of_members.std(axis=0)
        return deviation if deviation.any() else np.ones_like(deviation)


def _perceptrons(parameters: list[Tensor], inputs: Tensor) -> Tensor:
    """`(members, J, n)` from `inputs (J, n, F)`."""
    first, bias_1, second, bias_2, third, bias_3 = parameters
    hidden = torch.relu(inputs @ first + bias_1)
    return (torch.relu(hidden @ second + bias_2) @ third + bias_3)[..., 0]


class Apart(RewardModel):
    """A model for each slot by itself, each credited with the whole return, as published.

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
        return np.concatenate([model.mean() for model in self.models])

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """From each."""
        return np.concatenate([model.sample(rng) for model in self.models])

    def deviation(self) -> np.ndarray:
        """Of each."""
        return np.concatenate([model.deviation() for model in self.models])


REWARD_MODELS: dict[str, type[RewardModel]] = {"linear": LinearModel, "mlp": MLPModel}
