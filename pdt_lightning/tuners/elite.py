"""Elite: a bandit over prompts whose arms grow by segments of the agent's own best rollout."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np

from pdt_lightning.core.errors import UserError
from pdt_lightning.core.plain import plain
from pdt_lightning.core.ranges import NonNegativeFloat, PositiveInt, check_types
from pdt_lightning.core.seeding import generator
from pdt_lightning.data.episodes import Episodes, Index, step_rows
from pdt_lightning.data.minari import Demonstration
from pdt_lightning.data.segments import Segments
from pdt_lightning.tuners.base import OPTIONS, SegmentTuner
from pdt_lightning.tuners.recommend import as_shares, by_choice, worths
from pdt_lightning.tuners.spaces import Choice, Choices

StartFrom = Literal["task", "training_tasks"]


class Elite(SegmentTuner):
    """Rollouts in pairs: one with the arm of highest upper bound, one with segments of the best rollout so far.

    Such a prompt becomes an arm if it does better than the best arm does on average. The first arms are random prompts
    of the task's demonstrations, which may be poor: random actions do (`expert_share: 0` of a family). Or they are of
    demonstrations of training tasks, and nothing that was demonstrated of the task itself is used. It recommends the
    arm of the highest `recommend.worth`, as random search does.

    Args:
        segments: what the first arms are made of.
        budget: rollouts.
        rng: its only source of randomness.
        slots: `J`.
        start: arms to begin with.
        start_from: whose demonstrations these are made of: the `task`'s own, or those of `training_tasks`, of which
            each arm has one.
        exploration: `c`, of the upper bounds of values between 0, the worst that is known, and 1, the best.

    Source: Yuan et al. 2024 (MGPO), there with goals in place of segments; `c` is theirs. Theirs are the pairs, the
    bounds and who becomes an arm; `start` and the recommendation are ours.

    Raises:
        UserError: if the training tasks are not known.
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
        start_from: StartFrom = "task",
        exploration: NonNegativeFloat = 1.0,
    ):
        super().__init__(segments, budget, rng, slots)
        given = {"start": start, "start_from": start_from, "exploration": exploration}
        check_types(OPTIONS, Elite.__init__, given)
        self.start, self.start_from, self.exploration = start, start_from, exploration
        self._begin(int(rng.integers(2**31)))
        self.highest = -np.inf  # value of the best rollout that could be cut into segments

    def _begin(self, seed: int) -> None:
        """Draw the first arms."""
        self.seed, rng = seed, generator(seed, "elite")
        if self.start_from == "task":
            self.space = Grown(self.segments, self.slots, float(self.segments.episodes.scales[0]))
            self.arms = [self.space.sample(rng) for _ in range(self.start)]
        else:
            others, tasks = of_training_tasks(self.segments, self.start, rng)
            self.space = Grown(others, self.slots, float(self.segments.episodes.scales[0]), tasks)
            self.arms = [self.space.of_episode(number, rng) for number in range(len(tasks))]
        self.pick = self.arms[0]  # what it recommends before it knows anything

    def _propose(self, n: int) -> list[Choice]:
        proposed: list[Choice] = []
        for number in range(self.asked, self.asked + n):
            open_ones = [*self.pending.values(), *proposed]
            own = number % 2 and self.space.own
            last = len(self.space.segments.episodes) - 1
            proposed.append(self.space.of_episode(last, self.rng) if own else self._arm(open_ones))
        return proposed

    def _arm(self, open_ones: Sequence[Choice]) -> Choice:
        """The first arm that was not tried yet, else that of the highest bound; what is still open counts as tried."""
        outlook = self.outlook if self.start_from == "task" else replace(self.outlook, demonstrated=float("nan"))
        shares = by_choice(self.choices, as_shares(self.outcomes, outlook).tolist() if self.outcomes else [])
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
        more = {"seed": self.seed, "arms": self.arms, "highest": self.highest, "own": own}
        return {**super().state_dict(), **plain(more)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._begin(state["seed"])
        for number, episode in state["own"]:
            self.space.add(number, Demonstration.restored(episode))
        super().load_state_dict(state)
        self.arms, self.highest = [self.space.restored(arm) for arm in state["arms"]], state["highest"]


def of_training_tasks(segments: Segments, count: int, rng: np.random.Generator) -> tuple[Segments, list[int]]:
    """The segments of demonstrations of training tasks, one of each, and the numbers of these tasks.

    Args:
        segments: which know the training tasks.
        count: of tasks, at most.
        rng: of the draws.

    Raises:
        UserError: if the training tasks are not known, or none has a demonstration that is long enough.
    """
    if segments.training is None:
        raise UserError(
            f"`{OPTIONS}.start_from`=training_tasks: these Segments do not know the training tasks. Take them from "
            "MultiTaskDataModule.segments, or start from the task."
        )
    pool = segments.training.open()
    known, drawn, numbers = pool.episodes, [], []
    long_enough = pool.members[known.lengths_of(pool.members) >= segments.steps]
    for number in rng.permutation(np.unique(known.task[long_enough])).tolist()[:count]:
        drawn.append(int(rng.choice(long_enough[known.task[long_enough] == number])))
        numbers.append(number)
    if not drawn:
        raise UserError(
            f"`{OPTIONS}.start_from`=training_tasks: no demonstration of a training task has {segments.steps} steps. "
            "Lower `data.segment_steps`, or start from the task."
        )
    others = Segments(known.picked(drawn), segments.steps)
    others.demonstrated = 0  # not of this task
    return others, numbers


class Grown(Choices):
    """Segments by slot, of demonstrations and of rollouts that are added behind them.

    Args:
        segments: of the demonstrations, whose numbers stay as they are.
        slots: `J`.
        scale: of the returns of the task that is played.
        tasks: number of the training task of each demonstration; empty where they are of the task itself.

    Attributes:
        own: the rollouts that were added, each with its number.
    """

    def __init__(self, segments: Segments, slots: int, scale: float, tasks: Sequence[int] = ()):
        super().__init__(segments, slots)
        self._demonstrations, self.tasks = len(segments.episodes), tasks
        self._scales = np.append(segments.episodes.scales, np.float32(scale))  # the rollouts are of a task of their own
        self.own: list[tuple[int, Demonstration]] = []

    def add(self, number: int, episode: Demonstration) -> None:
        """Add the segments of a rollout, which has enough steps for one."""
        known = self.segments.episodes
        fine = known.steps.shape[1] > known.state_size + 2 * known.action_size + 1
        steps = np.concatenate([known.steps, step_rows(episode, fine)])
        index = Index.joined([known.index, Index.of([episode])])
        task = np.append(known.task, len(self._scales) - 1)
        grown = Segments(Episodes(steps, index, task, self._scales), self.segments.steps)
        grown.demonstrated, self.segments = self.segments.demonstrated, grown
        self.own.append((number, episode))

    def of_episode(self, number: int, rng: np.random.Generator) -> Choice:
        """Random segments of one demonstration or rollout, in the order of time."""
        (own,) = np.nonzero(self.segments.episode == number)
        return tuple(np.sort(rng.choice(own, self.slots)).tolist())

    def describe(self, point: Choice) -> str:
        """Each segment's steps, and its demonstration or rollout, counted from 1."""
        return "; ".join(self._described(segment) for segment in point)

    def _described(self, segment: int) -> str:
        episode, first = int(self.segments.episode[segment]), int(self.segments.start[segment]) + 1
        steps = f"steps {first}-{first + self.segments.steps - 1}"
        if episode >= self._demonstrations:
            return f"{steps} of rollout {self.own[episode - self._demonstrations][0] + 1}"
        if self.tasks:
            return f"{steps} of a demonstration of training task {self.tasks[episode] + 1}"
        return self.segments.describe(segment)
