"""Elite: a bandit over prompts whose arms grow by segments of the agent's own best rollout."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pdt_lightning.core.plain import plain
from pdt_lightning.core.ranges import NonNegativeFloat, PositiveInt
from pdt_lightning.data.episodes import Episodes, Index, step_rows
from pdt_lightning.data.minari import Demonstration
from pdt_lightning.data.segments import Segments
from pdt_lightning.tuners.base import SegmentTuner
from pdt_lightning.tuners.recommend import as_shares, by_choice, worths
from pdt_lightning.tuners.spaces import Choice, Choices


class Elite(SegmentTuner):
    """Rollouts in pairs: one with the arm of highest upper bound, one with segments of the best rollout so far.

    Such a prompt becomes an arm if it does better than the best arm does on average. The first arms are random prompts
    of the demonstrations, which may be poor: random actions do (`expert_share: 0` of a family). It recommends the arm
    of the highest `recommend.worth`, as random search does.

    Args:
        segments: what the first arms are made of.
        budget: rollouts.
        rng: its only source of randomness.
        slots: `J`.
        start: arms to begin with.
        exploration: `c`, of the upper bounds of values between 0, the worst that is known, and 1, the best.

    Source: Yuan et al. 2024 (MGPO), there with goals in place of segments; `c` is theirs. Theirs are the pairs, the
    bounds and who becomes an arm; `start` and the recommendation are ours.
    """

    wants_episodes = True
    space: "Grown"

    def __init__(
        self,
        segments: Segments,
        budget: int,
        rng: np.random.Generator,
        slots: int,
        start: PositiveInt = 5,
        exploration: NonNegativeFloat = 1.0,
    ):
        super().__init__(segments, budget, rng, slots)
        self.space, self.exploration = Grown(segments, slots), exploration
        self.arms = [self._random_choice() for _ in range(start)]
        self.pick = self.arms[0]  # what it recommends before it knows anything
        self.highest = -np.inf  # value of the best rollout that could be cut into segments

    def _propose(self, n: int) -> list[Choice]:
        proposed: list[Choice] = []
        for number in range(self.asked, self.asked + n):
            open_ones = [*self.pending.values(), *proposed]
            own = number % 2 and self.space.own
            proposed.append(self.space.of_the_last(self.rng) if own else self._arm(open_ones))
        return proposed

    def _arm(self, open_ones: Sequence[Choice]) -> Choice:
        """The first arm that was not tried yet, else that of the highest bound; what is still open counts as tried."""
        shares = by_choice(self.choices, as_shares(self.outcomes, self.outlook).tolist() if self.outcomes else [])
        pulls = Counter([*self.choices, *open_ones])
        for arm in self.arms:
            if not pulls[arm]:
                return arm
        total = sum(pulls[arm] for arm in self.arms)
        average = np.mean([np.mean(own) for own in shares.values()]) if shares else 0.0  # of arms that are only open

        def bound(arm: Choice) -> float:
            mean = np.mean(shares[arm]) if arm in shares else average
            return float(mean + self.exploration * np.sqrt(np.log(total) / (2 * pulls[arm])))

        return max(self.arms, key=bound)

    def _learn(self, proposal: Choice, value: float) -> None:
        groups = by_choice(self.choices, self.outcomes[: len(self.choices)])
        super()._learn(proposal, value)
        if proposal not in self.arms and value > max(np.mean(groups[arm]) for arm in self.arms if arm in groups):
            self.arms.append(proposal)

    def _learn_failure(self, proposal: Choice, worst: float) -> None:
        """It becomes no arm."""
        super()._learn(proposal, worst)

    def _learn_episode(self, number: int, value: float, episode: Demonstration) -> None:
        if value > self.highest and len(episode.rewards) >= self.segments.steps:
            self.highest = value
            self.space.add(number, episode)

    def _best(self) -> tuple[Choice, float]:
        tried = worths(self.choices, self.outcomes)
        best = max((arm for arm in self.arms if arm in tried), key=lambda arm: tried[arm], default=self.pick)
        return best, tried.get(best, float("nan"))

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner, the arms, and the rollouts that they are cut from."""
        own = [[number, asdict(episode)] for number, episode in self.space.own]
        return {**super().state_dict(), **plain({"arms": self.arms, "highest": self.highest, "own": own})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.space = Grown(self.segments, self.slots)
        for number, episode in state["own"]:
            self.space.add(number, Demonstration.restored(episode))
        super().load_state_dict(state)
        self.arms, self.highest = [self.space.restored(arm) for arm in state["arms"]], state["highest"]


class Grown(Choices):
    """Segments by slot, of demonstrations and of rollouts that are added behind them.

    Args:
        segments: of the demonstrations, whose numbers stay as they are.
        slots: `J`.

    Attributes:
        own: the rollouts that were added, each with its number.
    """

    def __init__(self, segments: Segments, slots: int):
        super().__init__(segments, slots)
        self._demonstrations = len(segments.episodes)
        self.own: list[tuple[int, Demonstration]] = []

    def add(self, number: int, episode: Demonstration) -> None:
        """Add the segments of a rollout, which has enough steps for one."""
        known = self.segments.episodes
        fine = known.steps.shape[1] > known.state_size + 2 * known.action_size + 1
        steps = np.concatenate([known.steps, step_rows(episode, fine)])
        index = Index.joined([known.index, Index.of([episode])])
        grown = Segments(Episodes(steps, index, np.zeros(len(known) + 1, np.int64), known.scales), self.segments.steps)
        grown.demonstrated, self.segments = self.segments.demonstrated, grown
        self.own.append((number, episode))

    def of_the_last(self, rng: np.random.Generator) -> Choice:
        """Random segments of the rollout that was added last, in the order of time."""
        (last,) = np.nonzero(self.segments.episode == len(self.segments.episodes) - 1)
        return tuple(np.sort(rng.choice(last, self.slots)).tolist())

    def describe(self, point: Choice) -> str:
        """Each segment's steps, and its demonstration or rollout, counted from 1."""
        return "; ".join(self._described(segment) for segment in point)

    def _described(self, segment: int) -> str:
        if segment < self.segments.demonstrated:
            return self.segments.describe(segment)
        number, _ = self.own[self.segments.episode[segment] - self._demonstrations]
        first = int(self.segments.start[segment]) + 1
        return f"steps {first}-{first + self.segments.steps - 1} of rollout {number + 1}"
