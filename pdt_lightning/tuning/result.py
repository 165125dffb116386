"""What a phase finds out about one task."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pdt_lightning.data.episodes import Episodes
from pdt_lightning.data.segments import Prompt
from pdt_lightning.rollouts.failures import counted
from pdt_lightning.rollouts.rollout import Outcome
from pdt_lightning.tuners.spaces import Tried
from pdt_lightning.tuning.record import Record
from pdt_lightning.tuning.search import TaskGivenUp, Trial


@dataclass
class EpisodeStatistics:
    """Returns and successes of episodes that were played with one kind of prompt, or demonstrated.

    Args:
        returns: of each episode; of one that failed the lowest known of the task.
        successes: of each episode the highest of its steps, 0 for one that failed; empty where the environment reports
            none.
        failed: how many episodes could not be played.
        last_successes: of each episode that of its last step, 0 for one that failed; empty where it is not known.
    """

    returns: list[float] = field(default_factory=list)
    successes: list[float] = field(default_factory=list)
    failed: int = 0
    last_successes: list[float] = field(default_factory=list)

    @classmethod
    def of(
        cls, outcomes: Sequence[Outcome], task: str, reports_success: bool, other_returns: Iterable[float] = ()
    ) -> "EpisodeStatistics":
        """From outcomes.

        Args:
            outcomes: of episodes.
            task: its id.
            reports_success: whether the environment reports success; if so, an episode that reports none counts as
                lost.
            other_returns: of other episodes of the task, played or demonstrated: a failed one counts as no better.

        Raises:
            TaskGivenUp: if all have failed.
        """
        failed = [outcome.failed is not None for outcome in outcomes]
        if all(failed):
            raise TaskGivenUp(task, f"every episode of {task} failed; the last one: {outcomes[-1].failed}")
        returns = counted(
            [None if out else outcome.total for outcome, out in zip(outcomes, failed, strict=True)], other_returns
        )
        if not reports_success:
            return cls(returns, failed=sum(failed))
        highest, last = (
            [0.0 if out else value or 0.0 for value, out in zip(values, failed, strict=True)]
            for values in ([outcome.success for outcome in outcomes], [outcome.last_success for outcome in outcomes])
        )
        return cls(returns, highest, sum(failed), last)

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
        origin: in words, where it comes from.
        recommended_value: what the tuner thinks it is worth.
        budget: rollouts that the tuner might have spent; it may have been sure before.
        confidence: how sure it was at the end; NaN of a tuner that does not say.
        record: what the figures are drawn from; None where no prompt was searched.
        curves: what the tuner learned by before the first rollout, by name.
        memory: outcomes that the tuner of a later phase may remember, each with the segments that were tried.
        prompt_sensitivity: from 0 to 1, how much the transformer's actions depend on which of the task's prompts is
            given; see `model.sensitivity`. NaN where it was not measured.
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
    origin: str
    recommended_value: float
    budget: int = 0
    confidence: float = float("nan")
    record: Record | None = None
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    memory: list[Tried] = field(default_factory=list)
    prompt_sensitivity: float = float("nan")
