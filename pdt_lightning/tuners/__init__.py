"""What chooses: tuners that ask for prompts, are told how they did, and recommend one."""

import numpy as np

from pdt_lightning.data.segments import Segments
from pdt_lightning.errors import check_choice
from pdt_lightning.policy import Policy
from pdt_lightning.tuners.base import Candidate, Tuner
from pdt_lightning.tuners.features import features
from pdt_lightning.tuners.random_search import RandomSearch
from pdt_lightning.tuners.structured import StructuredBandit
from pdt_lightning.tuners.uniform import Uniform

TUNERS: dict[str, type[Tuner]] = {"structured": StructuredBandit, "random_search": RandomSearch, "uniform": Uniform}


def make_tuner(
    name: str,
    segments: Segments,
    budget: int,
    rng: np.random.Generator,
    slots: int,
    policy: Policy,
    feature_kind: str = "encoded",
    reward_model: str = "linear",
    exploration: str = "thompson",
) -> Tuner:
    """The tuner called `name`; the last three options concern the structured bandit alone."""
    check_choice("--tuning.tuner", name, TUNERS)
    if name == "structured":
        return StructuredBandit(segments, budget, rng, slots, features(feature_kind, segments, policy), reward_model, exploration)
    return TUNERS[name](segments, budget, rng, slots)


__all__ = ["TUNERS", "Candidate", "RandomSearch", "StructuredBandit", "Tuner", "Uniform", "features", "make_tuner"]
