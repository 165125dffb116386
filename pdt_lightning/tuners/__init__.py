"""What chooses: tuners that ask for prompts, are told how they did, and recommend one."""

import numpy as np

from pdt_lightning.core.errors import check_choice
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import Candidate, SegmentTuner, Tuner
from pdt_lightning.tuners.features import features
from pdt_lightning.tuners.flat import FlatBandit
from pdt_lightning.tuners.hill_climbing import HillClimbing
from pdt_lightning.tuners.published import PublishedBandit
from pdt_lightning.tuners.random_search import RandomSearch
from pdt_lightning.tuners.rollout_free import LargestError, MostDifferentActions
from pdt_lightning.tuners.structured import StructuredBandit
from pdt_lightning.tuners.uniform import Uniform
from pdt_lightning.tuners.values import ValueTuner
from pdt_lightning.tuners.zo_rank_sgd import ZORankSGD

TUNERS: dict[str, type[Tuner]] = {
    "structured": StructuredBandit,
    "published": PublishedBandit,
    "random_search": RandomSearch,
    "hill_climbing": HillClimbing,
    "zo_rank_sgd": ZORankSGD,
    "flat": FlatBandit,
    "rollout_free": LargestError,
    "rollout_free_actions": MostDifferentActions,
    "uniform": Uniform,
}


def make_tuner(
    name: str, segments: Segments, budget: int, rng: np.random.Generator, slots: int, policy: Policy, **bandit: str
) -> Tuner:
    """The tuner called `name`; `bandit` are the options of `structured` and `flat`: features, reward_model, exploration, credit."""
    check_choice("--tuning.tuner", name, TUNERS)
    return TUNERS[name].make(segments, budget, rng, slots, policy, **bandit)


__all__ = [
    "TUNERS",
    "Candidate",
    "FlatBandit",
    "HillClimbing",
    "LargestError",
    "MostDifferentActions",
    "PublishedBandit",
    "RandomSearch",
    "SegmentTuner",
    "StructuredBandit",
    "Tuner",
    "Uniform",
    "ValueTuner",
    "ZORankSGD",
    "features",
    "make_tuner",
]
