"""Fixed-budget best-arm identification: the best cluster of prompts is found first, then the best prompt in it."""

import math
from typing import Any, ClassVar, Self

import numpy as np

from pdt_lightning.core.plain import plain
from pdt_lightning.core.seeding import generator
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import Choice, SegmentTuner
from pdt_lightning.tuners.clusters import clustered
from pdt_lightning.tuners.features import FeaturesName, feature_maker
from pdt_lightning.tuners.features import features as features_of_segments
from pdt_lightning.tuners.recommend import by_choice
from pdt_lightning.tuners.spaces import Listed

POOL = 1000  # prompts of several segments that are looked at


def halvings(arms: int, rollouts: int) -> list[tuple[int, int]]:
    """(arms, rollouts) of each round of sequential halving, for as many of the arms as can be tried in every round.

    Args:
        arms: that there are.
        rollouts: for all rounds together.

    Source: Karnin, Koren and Somekh 2013, algorithm 1.

    >>> halvings(20, 25)
    [(8, 8), (4, 8), (2, 9)]
    """
    count = next((n for n in range(arms, 1, -1) if n * math.ceil(math.log2(n)) <= rollouts), 1)
    rounds = max(1, math.ceil(math.log2(count)))
    shares = [rollouts // rounds] * (rounds - 1) + [rollouts - rollouts // rounds * (rounds - 1)]
    return [(-(-count // 2**number), share) for number, share in enumerate(shares)]


class ClusteredHalving(SegmentTuner):
    """Sequential halving over clusters of prompts with half of the budget, then over the prompts of the best cluster.

    A rollout for a cluster tries one of its prompts that was not tried yet. Of a cluster with more prompts than can be
    halved those that did best so far are taken, and then any. What is recommended is the survivor of the highest mean.

    Args:
        segments: the arms.
        budget: rollouts.
        rng: its only source of randomness.
        slots: `J`. Where it is 1 the prompts are all segments, else `POOL` random ones.
        features: `(N, F)` of the segments, by which prompts are clustered, slot beside slot; by name `encoded` | `raw`.

    Source: Shi et al. 2024 (TRIPLE-CLST, arXiv 2402.09723); that there are as many clusters as can be halved, and no
    more than the root of the number of prompts, is ours.
    """

    space: Listed
    named: ClassVar = {"features": feature_maker}

    def __init__(self, segments: Segments, budget: int, rng: np.random.Generator, slots: int, features: np.ndarray):
        super().__init__(segments, budget, rng, slots)
        self.features = features
        self._divide(int(rng.integers(2**31)))

    @classmethod
    def make(  # type: ignore[override]
        cls,
        segments: Segments,
        budget: int,
        rng: np.random.Generator,
        slots: int,
        policy: Policy,
        features: FeaturesName = "encoded",
    ) -> Self:
        """With the features that the policy's transformer gives."""
        return cls(segments, budget, rng, slots, features_of_segments(features, segments, policy))

    def _divide(self, seed: int) -> None:
        """Draw the prompts, divide them into clusters, and begin with these."""
        self.seed, rng = seed, generator(seed, "triple")
        self.space = Listed.drawn(self.segments, self.slots, POOL, rng)
        count = len(self.space.choices)
        self.pick = (int(rng.integers(count)),)  # what it recommends before it knows anything
        most = halvings(math.isqrt(count), self.budget // 2)[0][0]
        self.clusters = clustered(self.features[self.space.choices].reshape(count, -1), most, rng)
        self.order = rng.permutation(count)  # in which prompts are taken that nothing is known of
        self.ends: list[int] = []  # rollouts after which the rounds end, the present one first
        self.begun = 0  # rollouts before the present round
        self.active = list(range(self.clusters.max() + 1))  # clusters, later prompts
        self.among_clusters = len(self.active) > 1
        if self.among_clusters:
            self._plan(halvings(len(self.active), self.budget // 2))
        else:
            self._enter(0)

    def _plan(self, rounds: list[tuple[int, int]]) -> None:
        self.ends = (self.begun + np.cumsum([rollouts for _, rollouts in rounds])).tolist()

    def _enter(self, cluster: int) -> None:
        """Spend what is left among the prompts of a cluster: those that did best, then any."""
        means = self._means()
        members = [prompt for prompt in self.order.tolist() if self.clusters[prompt] == cluster]
        rounds = halvings(len(members), self.budget - self.begun)
        self.among_clusters = False
        self.active = sorted(members, key=lambda prompt: -means.get(prompt, -np.inf))[: rounds[0][0]]
        self._plan(rounds)

    def _means(self) -> dict[int, float]:
        """Mean outcome of each prompt that was tried."""
        return {prompt: float(np.mean(own)) for (prompt,), own in by_choice(self.choices, self.outcomes).items()}

    def _propose(self, n: int) -> list[Choice]:
        """No more than the round has left: who stays for the next one depends on how this one ends."""
        last, proposed = self.ends[0] if self.ends else 0, list[Choice]()
        for number in range(self.asked, min(self.asked + n, last)):
            arm = self.active[(number - self.begun) % len(self.active)]
            proposed.append((self._member(arm, proposed) if self.among_clusters else arm,))
        return proposed

    def _member(self, cluster: int, proposed: list[Choice]) -> int:
        """A prompt of a cluster, which was not tried yet if there is one."""
        tried = [prompt for (prompt,) in (*self.choices, *self.pending.values(), *proposed)]
        members = np.flatnonzero(self.clusters == cluster)
        untried = np.setdiff1d(members, tried)
        return int(self.rng.choice(untried if len(untried) else members))

    def _learn(self, proposal: Choice, value: float) -> None:
        super()._learn(proposal, value)
        if len(self.told) == self.ends[0]:
            self._end_round()

    def _end_round(self) -> None:
        """Half of the arms stay, those of the highest means."""
        outcomes = np.array(self.outcomes)
        tried = np.array([prompt for (prompt,) in self.choices])
        arms = self.clusters[tried] if self.among_clusters else tried
        ranked = sorted(self.active, key=lambda arm: -outcomes[arms == arm].mean())
        self.active, self.begun = ranked[: -(-len(ranked) // 2)], self.ends.pop(0)
        if self.among_clusters and not self.ends:
            self._enter(self.active[0])

    def _best(self) -> tuple[Choice, float]:
        """Of the prompts that are left the one of the highest mean; while clusters are compared, of all tried."""
        means = self._means()
        left = [prompt for prompt in self.active if prompt in means and not self.among_clusters] or list(means)
        best = max(left, key=lambda prompt: means[prompt], default=self.pick[0])
        return (best,), means.get(best, float("nan"))

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner, the seed of prompts and clusters, and where the rounds stand."""
        own = {name: getattr(self, name) for name in ("seed", "active", "begun", "ends", "among_clusters")}
        return {**super().state_dict(), **plain(own)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._divide(state["seed"])
        super().load_state_dict(state)
        self.active, self.begun, self.ends = list(state["active"]), state["begun"], list(state["ends"])
        self.among_clusters = state["among_clusters"]
