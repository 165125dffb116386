"""Which prompt to recommend when every rollout is a coin: a share of the budget re-tries the finalists.

After sequential halving (Karnin, Koren and Somekh 2013): the finalists are tried equally often, half as many are left,
and so on; but who they are is decided anew at every re-trial, so that one that left may return when others disappoint.
What a prompt is thought to be worth is the mean of its own rollouts, drawn towards the prediction as if that were
`PRIOR_ROLLOUTS` rollouts more: one lucky rollout does not win.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from pdt_lightning.data.segments import Segments
from pdt_lightning.tuners.base import Choice, SegmentTuner
from pdt_lightning.tuners.outlook import Outlook

Value = TypeVar("Value", float, float | None)

PRIOR_ROLLOUTS = 2.0
MOST_FINALISTS = 8


def reserve(budget: int) -> int:
    """Rollouts kept for the finalists: a quarter of the budget."""
    return budget // 4


def worth(prediction: float, outcomes: list[float]) -> float:
    """Estimated value of a prompt.

    >>> worth(0.5, [1.0, 1.0])
    0.75
    """
    return (PRIOR_ROLLOUTS * prediction + sum(outcomes)) / (PRIOR_ROLLOUTS + len(outcomes))


def by_choice(choices: list[Choice], outcomes: list[Value]) -> dict[Choice, list[Value]]:
    """The outcomes of each prompt that was tried, in the order of first trial."""
    groups: dict[Choice, list[Value]] = {}
    for choice, outcome in zip(choices, outcomes, strict=True):
        groups.setdefault(choice, []).append(outcome)
    return groups


def worths(choices: list[Choice], outcomes: list[float]) -> dict[Choice, float]:
    """Estimated value of each prompt that was tried, without a model: all are predicted to bring the mean outcome."""
    mean = float(np.mean(outcomes)) if outcomes else float("nan")
    return {choice: worth(mean, tried) for choice, tried in by_choice(choices, outcomes).items()}


def as_shares(outcomes: Sequence[float], outlook: Outlook) -> np.ndarray:
    """Outcomes between the lowest, 0, and the highest, 1, that is known, for bounds that hold for such values.

    Args:
        outcomes: in any unit.
        outlook: what was known before: its worst and its demonstrated value are among them, where there are any.

    >>> as_shares([2.0, 5.0], Outlook(worst=-3.0)).tolist()
    [0.625, 1.0]
    """
    known = [*outcomes, *(value for value in (outlook.worst, outlook.demonstrated) if np.isfinite(value))]
    return (np.array(outcomes) - min(known)) / (max(known) - min(known) or 1.0)


class SequentialHalving:
    """A schedule of re-trials: stages in which the remaining finalists are tried equally often.

    Args:
        rollouts: for all stages together.
    """

    def __init__(self, rollouts: int):
        self.stages: list[tuple[int, int]] = []  # (finalists, rollouts of the stage)
        finalists = 1
        while finalists < MOST_FINALISTS and 2 * finalists * int(np.log2(2 * finalists)) <= rollouts:
            finalists *= 2
        count = max(1, int(np.log2(finalists)))
        for stage in range(count):
            share = rollouts // count + (rollouts % count if stage == count - 1 else 0)
            self.stages.append((max(1, finalists >> stage), share))

    def next(self, retrial: int, estimates: Mapping[Choice, float], counts: Mapping[Choice, int]) -> Choice:
        """Whom to try: among the stage's finalists, the one tried least.

        Args:
            retrial: number of this re-trial, from 0.
            estimates: worth of every prompt in question.
            counts: how often each was tried, pending trials included.
        """
        finalists = self.stages[-1][0]
        for size, rollouts in self.stages:
            if retrial < rollouts:
                finalists = size
                break
            retrial -= rollouts
        remaining = sorted(estimates, key=lambda choice: -estimates[choice])[:finalists]
        return min(remaining, key=lambda choice: counts.get(choice, 0))


class Finalists(SegmentTuner):
    """A tuner that explores, then re-tries the best, and recommends the prompt of highest worth.

    What it explores is left open.

    Args:
        segments: the arms.
        budget: rollouts.
        rng: its only source of randomness.
        slots: `J`.
    """

    def __init__(self, segments: Segments, budget: int, rng: np.random.Generator, slots: int):
        super().__init__(segments, budget, rng, slots)
        self.exploring = budget - reserve(budget)
        self.halving = SequentialHalving(reserve(budget))

    @abstractmethod
    def _explore(self, number: int, open_ones: list[Choice]) -> Choice:
        """What rollout `number` tries, beside the prompts whose outcomes are still open."""

    @abstractmethod
    def _estimates(self) -> dict[Choice, float]:
        """Worth of the prompts that may be re-tried and recommended; may be empty before any outcome."""

    def _propose(self, n: int) -> list[Choice]:
        proposed: list[Choice] = []
        retrials = self.asked + n > self.exploring
        estimates = self._sound(self._estimates()) if retrials else {}
        counts = Counter([*self.choices, *self.pending.values()])
        for number in range(self.asked, self.asked + n):
            if estimates and number >= self.exploring:
                choice = self.halving.next(number - self.exploring, estimates, counts)
            else:
                choice = self._explore(number, [*self.pending.values(), *proposed])
            counts[choice] += 1
            proposed.append(choice)
        return proposed

    def _sound(self, estimates: dict[Choice, float]) -> dict[Choice, float]:
        """Without those that failed at least as often as they were played if others are left; they are no finalists."""
        trials = by_choice(self.choices, self.values)
        failures = {choice: values.count(None) for choice, values in trials.items()}
        failing = {choice for choice, count in failures.items() if count and 2 * count >= len(trials[choice])}
        return {choice: value for choice, value in estimates.items() if choice not in failing} or estimates

    def _best(self) -> tuple[Choice, float]:
        estimates = self._sound(self._estimates())
        choice = max(estimates, key=lambda c: estimates[c])
        return choice, estimates[choice]
