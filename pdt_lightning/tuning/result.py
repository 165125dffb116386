"""What a phase finds out about one task."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pdt_lightning.data.episodes import Episodes
from pdt_lightning.data.segments import Prompt
from pdt_lightning.rollouts.rollout import Outcome
from pdt_lightning.tuning.record import Record
from pdt_lightning.tuning.search import Trial


@dataclass
class EpisodeStatistics:
    """Episodes that speak for one way of prompting.

    Args:
        returns: of each episode that could be played.
        successes: of each episode, 0 for one that failed; empty where the environment reports none.
        failed: how many episodes could not be played.
    """

    returns: list[float] = field(default_factory=list)
    successes: list[float] = field(default_factory=list)
    failed: int = 0

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], task: str) -> "EpisodeStatistics":
        """From outcomes, of which not all may have failed."""
        played = [outcome for outcome in outcomes if outcome.failed is None]
        if not played:
            raise RuntimeError(f"every episode of {task} failed; the last one: {outcomes[-1].failed}")
        reported = any(outcome.success is not None for outcome in played)
        successes = [0.0 if outcome.failed else outcome.success or 0.0 for outcome in outcomes] if reported else []
        return cls([outcome.total for outcome in played], successes, len(outcomes) - len(played))

    @classmethod
    def demonstrated(cls, episodes: Episodes, horizon: int) -> "EpisodeStatistics":
        """From demonstrations: those that are whole, of as many steps as rollouts have."""
        whole = episodes.whole(horizon)
        successes = episodes.index.successes[whole]
        return cls(episodes.index.returns[whole].tolist(), successes[~np.isnan(successes)].tolist())


@dataclass
class TaskResult:
    """What a phase found for one task.

    Args:
        task: its id.
        held_out: see `Subject`.
        expert: the candidate demonstrations.
        yardstick: untuned episodes before tuning.
        untuned: untuned episodes on the verdict's seeds.
        tuned: the recommended prompt on the verdict's seeds.
        oracle: the best prompt found by trying many, on the verdict's seeds; None where it was not asked for.
        trials: the tuner's rollouts.
        prompt: the recommended prompt.
        origin: in words, where each segment of it came from.
        recommended_value: what the tuner thinks it is worth.
        record: what the figures are drawn from; None where no prompt was searched.
    """

    task: str
    held_out: bool
    expert: EpisodeStatistics
    yardstick: EpisodeStatistics
    untuned: EpisodeStatistics
    tuned: EpisodeStatistics
    oracle: EpisodeStatistics | None
    trials: list[Trial]
    prompt: Prompt
    origin: list[str]
    recommended_value: float
    record: Record | None = None
