"""From a reward model to the next choice: what to try, slot by slot."""

from abc import ABC, abstractmethod

import numpy as np

from pdt_lightning.tuners.reward_models import RewardModel


class Exploration(ABC):
    """Chooses a segment for every slot."""

    @abstractmethod
    def choose(self, model: RewardModel, progress: float, rng: np.random.Generator) -> np.ndarray:
        """`(J,)` segments to try.

        Args:
            model: fitted to what is known.
            progress: share of the budget that is spent, in [0, 1).
            rng: for what is left to chance.
        """


class Thompson(Exploration):
    """Thompson sampling: the best choice under one draw from the posterior.

    Source: Thompson 1933; Rietz et al. 2025 for prompts.
    """

    def choose(self, model: RewardModel, progress: float, rng: np.random.Generator) -> np.ndarray:
        """The argmax of each slot's sampled terms."""
        return model.sample(rng).argmax(axis=1)


class EpsilonGreedy(Exploration):
    """A uniform choice with probability epsilon, else the best one by the model's mean; epsilon falls 1 → 0.

    Args:
        share: of the budget over which epsilon falls.

    Source: Rietz et al. 2025, public code.
    """

    def __init__(self, share: float = 0.2):
        self.share = share

    def choose(self, model: RewardModel, progress: float, rng: np.random.Generator) -> np.ndarray:
        """Uniform or greedy."""
        if rng.random() < 1 - progress / self.share:
            return rng.integers(len(model.features), size=model.slots)
        return model.mean().argmax(axis=1)


EXPLORATIONS = {"thompson": Thompson, "epsilon_greedy": EpsilonGreedy}
