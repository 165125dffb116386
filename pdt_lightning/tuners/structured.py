"""The structured bandit: a reward model for each slot of the prompt, the next prompt chosen slot by slot.

`N^J` prompts, but a round costs `J·N` evaluations. What the demonstrations tell of a segment is the model's prior: the
prompt that it holds best is tried first, and rollouts go where doubt remains. After the rounds of exploration the
finalists are tried again, and the best of them is recommended.

Source: Rietz et al. 2025 (arXiv 2502.06358), section 4; the prior, the joint fit of the slots and the recommendation
are ours.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from pdt_lightning.core.ranges import NonNegativeFloat, NonNegativeInt, check_types
from pdt_lightning.core.seeding import generator
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import OPTIONS, Choice
from pdt_lightning.tuners.clusters import medoids as medoids_of
from pdt_lightning.tuners.confidence import confidence
from pdt_lightning.tuners.exploration import ExplorationName, best_choice, exploration_class
from pdt_lightning.tuners.features import FeaturesName, feature_maker, made_once
from pdt_lightning.tuners.features import features as features_of_segments
from pdt_lightning.tuners.generated import enlarged
from pdt_lightning.tuners.prior import Informed, Prior, PriorName, prior_maker, standardised
from pdt_lightning.tuners.recommend import Finalists, by_choice, worth
from pdt_lightning.tuners.reward_models import Apart, RewardModel, RewardModelName, reward_model_class
from pdt_lightning.tuners.soft_prompt import with_soft_prompt
from pdt_lightning.tuners.spaces import Tried

Credit = Literal["own", "whole"]


class StructuredBandit(Finalists):
    """Explores by a reward model, recommends by its prediction and the prompts' own outcomes.

    Args:
        segments: the arms.
        budget: rollouts.
        rng: its only source of randomness.
        slots: `J`.
        features: `(N, F)` of the segments; by name `encoded`, as the transformer encodes them, or `raw`, their values.
        reward_model: `linear`, or the path of a class derived from `reward_models.RewardModel`.
        exploration: `thompson` | `ucb` | `epsilon_greedy` | `sparsemax`, or the path of a class derived from
            `exploration.Exploration`.
        credit: `own`: one model of all slots, each credited with its own share; `whole`: a model for each slot,
            credited with the whole return, as published.
        prior: what is held of the segments before the first rollout, None: nothing; by name what the `demonstrations`
            tell, or `none`.
        tolerance: the search is over when the recommended prompt is surely within this of the best: a share of success,
            or of the best demonstrations' return. 0: only when the budget is spent.
        medoids: how many rollouts, after one of what the prior holds best, try the medoids of as many clusters of
            segments, each in all slots; 0: none.

    `make` also takes, as options, how many segments are `generated` by the denoiser of `Diffuser` and tried like the
    others, 0: none; and whether `SoftPrompt`'s prompt is among them too, which is then `soft` and tried first.
    """

    named: ClassVar = {
        "features": feature_maker,
        "reward_model": reward_model_class,
        "exploration": exploration_class,
    }

    def __init__(
        self,
        segments: Segments,
        budget: int,
        rng: np.random.Generator,
        slots: int,
        features: np.ndarray,
        reward_model: RewardModelName = "linear",
        exploration: ExplorationName = "thompson",
        credit: Credit = "own",
        prior: Prior | None = None,
        tolerance: NonNegativeFloat = 0.05,
        medoids: NonNegativeInt = 0,
    ):
        super().__init__(segments, budget, rng, slots)
        given = {"credit": credit, "tolerance": tolerance, "medoids": medoids}
        check_types(OPTIONS, StructuredBandit.__init__, given)
        kind = reward_model_class(reward_model)
        self._model = lambda features: kind(features, slots) if credit == "own" else Apart(kind, features, slots)
        self._prior, self.tolerance = prior, tolerance
        self.model: RewardModel = (
            Informed(self._model, features, slots, prior.scores) if prior else self._model(features)
        )
        self.exploration = exploration_class(exploration)()
        # The fits draw from a generator of their own, so that a tuner restored from its state fits the same model
        # again.
        self.fit_seed = int(rng.integers(2**31))
        # Alike for all seeds: a tuner restored from its state starts with them too.
        prototypes = medoids_of(features, medoids, generator(0, "medoids")) if medoids else []
        self._prototypes = [(number,) * slots for number in prototypes]
        self._fitted = 0  # number of outcomes the model has seen
        self._mean, self._spread = 0.0, 1.0  # of those outcomes
        self._range = 0.0, 0.0

    @classmethod
    def make(  # type: ignore[override]  # each tuner takes options of its own
        cls,
        segments: Segments,
        budget: int,
        rng: np.random.Generator,
        slots: int,
        policy: Policy,
        features: FeaturesName = "encoded",
        reward_model: RewardModelName = "linear",
        exploration: ExplorationName = "thompson",
        credit: Credit = "own",
        prior: PriorName = "demonstrations",
        tolerance: NonNegativeFloat = 0.05,
        medoids: NonNegativeInt = 0,
        generated: NonNegativeInt = 0,
        soft: bool = False,
    ) -> Self:
        """With the features and the prior of the segments that the policy's transformer gives.

        Where segments are `generated`, tuners of all budgets and seeds have the same ones among their arms.
        """
        if generated:
            own = segments
            segments, _ = made_once(
                ("generated", slots, generated),
                own,
                policy,
                lambda: enlarged(own, policy, slots, generated, 1.0, generator(0, "generated segments", "drawing")),
            )
        first: Choice = ()
        if soft:
            segments, first = with_soft_prompt(segments, policy, slots)
        known, held = features_of_segments(features, segments, policy), prior_maker(prior)(segments, policy, slots)
        held = replace(held, best=first) if held and first else held
        return cls(segments, budget, rng, slots, known, reward_model, exploration, credit, held, tolerance, medoids)

    def _explore(self, number: int, open_ones: list[Choice]) -> Choice:
        self._fit()
        if self._prior and not self._fitted:  # what is held best, and what differs from it least
            return best_choice(self.model.mean(), open_ones) if self._prior.best in open_ones else self._prior.best
        if untried := [choice for choice in self._prototypes if choice not in {*self.choices, *open_ones}]:
            return untried[0]
        return self.exploration.choose(self.model, number / self.budget, self.rng, open_ones)

    def _propose(self, n: int) -> list[Choice]:
        """While the recommended prompt does as well as the best may, it is tried again, until it is sure or fails."""
        if self._may_end():
            choice, value = self._best()
            if choice in self.choices and value >= self._to_reach(value) - self._tolerated():
                return [choice] * n
        return super()._propose(n)

    def memory(self) -> list[Tried]:
        """All outcomes of the task's own segments, those that were remembered among them.

        What was generated is so anew by the next weights.
        """
        tried = zip(self.choices, self.values, strict=True)
        return [(choice, value) for choice, value in tried if self.space.made_of(choice) == choice]

    def remember(self, memory: Sequence[Tried]) -> None:
        """Learn from these outcomes as from those of rollouts that explored."""
        self.told = [-1 - number for number in range(len(memory))]
        self.choices, self.values = [choice for choice, _ in memory], [value for _, value in memory]
        self.outcomes = self._counted(self.values)

    def confidence(self) -> float:
        """That the recommended prompt is within the tolerance of the best; NaN before it was tried, or without one."""
        own = by_choice(self.choices, self.outcomes).get(self._best()[0]) if self._may_end() else None
        if not own:
            return float("nan")
        return confidence(own, self.outcomes, self._to_reach(float(np.mean(own))), self._tolerated())

    def _may_end(self) -> bool:
        """Whether the search may end before the budget is spent.

        It needs a tolerance, an outcome, and a known value of the demonstrations.
        """
        return bool(self.tolerance and self.choices) and not np.isnan(self.outlook.demonstrated)

    def _tolerated(self) -> float:
        return self.tolerance * self.outlook.size

    def _to_reach(self, value: float) -> float:
        """The value that counts as the best.

        It is the demonstrations' value. If a prompt worth `value` exceeds that by more than the tolerance, it is the
        highest sum, over the slots, of the model's mean plus one standard deviation, and at least `value`.
        """
        if value <= self.outlook.demonstrated + self._tolerated():
            return self.outlook.demonstrated
        terms = (self.model.mean() + self.model.deviation()).max(axis=1).sum()
        return max(value, self._mean + self._spread * float(terms))

    def _fit(self) -> None:
        """Fit to the outcomes of exploration.

        Re-trials judge single prompts and leave the model, and so the finalists, alone.
        """
        known = [n for n, number in enumerate(self.told) if number < self.exploring]
        if len(known) != self._fitted:
            self._fitted = len(known)
            outcomes = np.array(self.outcomes)[known]
            # What was demonstrated is an outcome too: without it the first rollout that is lost would teach nothing.
            shown = self.outlook.demonstrated if self._prior else np.nan
            seen = outcomes if np.isnan(shown) else np.append(outcomes, shown)
            spread = float(seen.std())
            self._mean, self._spread = float(seen.mean()), spread if spread > 1e-9 else 1.0
            self._range = float(seen.min()), float(seen.max())
            if isinstance(self.model, Informed) and not np.isnan(shown):
                self.model.expect((shown - self._mean) / self._spread)
            rng = generator(self.fit_seed, "fit", self._fitted)
            self.model.fit(np.array(self.choices)[known], (outcomes - self._mean) / self._spread, rng)

    def _estimates(self) -> dict[Choice, float]:
        """Worth of every prompt tried and, while there are trials left, of the one that the model holds best."""
        self._fit()
        groups = by_choice(self.choices, self.outcomes)
        if self.asked < self.budget or not groups:
            groups.setdefault(self._held_best(), [])
        return {
            c: worth(value, own) for (c, own), value in zip(groups.items(), self._values(list(groups)), strict=True)
        }

    def _held_best(self) -> Choice:
        """By the model, or before any outcome by the prior."""
        if self._prior and not self._fitted:
            return self._prior.best
        return tuple(self.model.mean().argmax(axis=1).tolist())

    def _values(self, choices: Sequence[Choice]) -> list[float]:
        """What the model, as fitted last, expects of prompts."""
        if not choices:
            return []
        return self._outcome(self.model.mean()[np.arange(self.slots), np.array(choices)].sum(axis=1)).tolist()

    def _outcome(self, terms: np.ndarray) -> np.ndarray:
        """Sums of terms as outcomes; a linear model extrapolates, but none is expected beyond what was seen."""
        return np.clip(self._mean + self._spread * terms, *self._range)

    def _predict(self, choices: Sequence[Choice]) -> Sequence[float]:
        self._fit()
        return self._values(choices) if self._fitted else super()._predict(choices)

    def estimates(self) -> np.ndarray | None:
        """As the model sees it after all rounds of exploration; None before the first outcome."""
        self._fit()
        if not self._fitted:
            return None
        terms = self.model.mean()
        averages = terms.mean(axis=1, keepdims=True)
        return self._outcome(terms - averages + averages.sum())

    def scores(self) -> np.ndarray | None:
        """Those of the prior, in standard deviations."""
        return standardised(self._prior.scores) if self._prior else None

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner; the model is fitted again from the outcomes."""
        return {**super().state_dict(), "fit_seed": self.fit_seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self.fit_seed, self._fitted = state["fit_seed"], 0
