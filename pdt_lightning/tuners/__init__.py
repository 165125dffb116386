"""What chooses: tuners that ask for prompts, are told how they did, and recommend one.

To add a tuner, write a file with a class derived from `Tuner` (`base.py`) and name it in `TUNERS` below. If
`compare --tuners all` is to run it, name it also in `ALL` of `comparison/plan.py`. The parts of a bandit are added in
the same way: a reward model in `reward_models.py`, an exploration in `exploration.py`, features of segments in
`features.py`, each with a name in the table at the end of its file. What tuners propose are points of a space
(`spaces.py`), and another kind of prompts is another space, whose points become returns-to-go, states and actions. A
class of your own needs no table: every option takes its path.

To change when a search ends early, see `Tuner.ask` and `SURE` (`base.py`). For the bandit the conditions are in
`structured.py` (`_may_end`, `_to_reach`), and the probability is in `confidence.py`.
"""

from typing import Any

import numpy as np

from pdt_lightning.core.guests import find
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import Candidate, SegmentTuner, Tuner
from pdt_lightning.tuners.cma_es import CMAES
from pdt_lightning.tuners.diffuser import Diffuser
from pdt_lightning.tuners.elite import Elite
from pdt_lightning.tuners.features import FEATURES, features
from pdt_lightning.tuners.flat import FlatBandit
from pdt_lightning.tuners.hill_climbing import HillClimbing
from pdt_lightning.tuners.neural_ucb import NeuralUCB
from pdt_lightning.tuners.published import PublishedBandit
from pdt_lightning.tuners.random_search import RandomSearch
from pdt_lightning.tuners.rollout_free import BestDemonstration, DemonstrationLoss
from pdt_lightning.tuners.soft_prompt import SoftPrompt
from pdt_lightning.tuners.spaces import Choices, Space, Values
from pdt_lightning.tuners.structured import StructuredBandit
from pdt_lightning.tuners.triple import ClusteredHalving
from pdt_lightning.tuners.uniform import Uniform
from pdt_lightning.tuners.values import MovingTuner, ValueTuner
from pdt_lightning.tuners.zo_rank_sgd import ZORankSGD

TUNERS: dict[str, type[Tuner]] = {
    "structured": StructuredBandit,
    "published": PublishedBandit,
    "random_search": RandomSearch,
    "hill_climbing": HillClimbing,
    "zo_rank_sgd": ZORankSGD,
    "cma_es": CMAES,
    "elite": Elite,
    "triple": ClusteredHalving,
    "neural_ucb": NeuralUCB,
    "flat": FlatBandit,
    "demonstration_loss": DemonstrationLoss,
    "best_demonstration": BestDemonstration,
    "soft_prompt": SoftPrompt,
    "diffuser": Diffuser,
    "uniform": Uniform,
}


def tuner_class(name: str) -> type[Tuner]:
    """The tuner called `name`.

    It is one of `TUNERS`, of an installed package (entry points `pdt_lightning.tuners`), or a class path.
    """
    return find("`tuning.tuner`", name, TUNERS, "pdt_lightning.tuners", Tuner)


def make_tuner(
    name: str, segments: Segments, budget: int, rng: np.random.Generator, slots: int, policy: Policy, **options: Any
) -> Tuner:
    """The tuner called `name`, with its own options."""
    kind = tuner_class(name)
    return kind.make(segments, budget, rng, slots, policy, **kind.check(name, options))


__all__ = [
    "CMAES",
    "FEATURES",
    "TUNERS",
    "BestDemonstration",
    "Candidate",
    "Choices",
    "ClusteredHalving",
    "DemonstrationLoss",
    "Diffuser",
    "Elite",
    "FlatBandit",
    "HillClimbing",
    "MovingTuner",
    "NeuralUCB",
    "PublishedBandit",
    "RandomSearch",
    "SegmentTuner",
    "SoftPrompt",
    "Space",
    "StructuredBandit",
    "Tuner",
    "Uniform",
    "ValueTuner",
    "Values",
    "ZORankSGD",
    "features",
    "make_tuner",
    "tuner_class",
]
