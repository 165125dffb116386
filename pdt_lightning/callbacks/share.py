"""A rank's share of a phase: its tasks, tuned with a journal, and what went wrong with their episodes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pdt_lightning.core.signals import Interrupted, StopRequest
from pdt_lightning.core.terminal import progress_bar, say
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.rollouts.rollout import Outcome, Row
from pdt_lightning.tuning.journal import Journal
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.phase import Recommendation, planned_rollouts, tune
from pdt_lightning.tuning.result import TaskResult
from pdt_lightning.tuning.search import TaskGivenUp
from pdt_lightning.tuning.subject import Subject


def tune_share(
    policy: Policy,
    subjects: Sequence[Subject],
    pool: RolloutPool,
    options: TuningOptions,
    slots: int,
    phase: int,
    final: bool,
    path: Path | None,
    request: StopRequest | None,
    progress: bool,
    chosen: Mapping[str, Recommendation] | None = None,
) -> list[TaskResult]:
    """Tune these tasks, or judge prompts of them.

    Args:
        policy: frozen.
        subjects: the tasks of this rank.
        pool: plays.
        options: how prompts are tuned and judged.
        slots: `J`.
        phase: its number; below 0 outside of a run.
        final: whether to look for the best that can be found.
        path: of the rank's journal; None: none is kept.
        request: may end the phase between two blocks of rollouts.
        progress: show a bar.
        chosen: prompts to judge, by task.

    Returns:
        What was found, without the tasks that were given up.

    Raises:
        Interrupted: if it was asked to stop.
    """
    total = planned_rollouts(options, len(subjects), final, judged_only=chosen is not None)
    number = f", phase {phase}" if phase >= 0 else ""
    with progress_bar(f"{'Judging' if chosen else 'Tuning'} prompts{number}", total, "rollout", progress) as advance:
        journal = Journal(path, policy, pool.width) if path else None
        kept = 0

        def count(number: int) -> None:
            nonlocal kept
            kept += number
            advance(number)

        def played(rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
            count(len(outcomes))
            if journal:
                journal.add(rows, outcomes)
            if request and request.heard:
                where = f"tuning phase {phase}" if phase >= 0 else "tuning"
                raise Interrupted(f"in {where}, of which all {kept} rollouts so far are kept")

        play = pool.with_policy(policy, played)
        try:
            if journal:
                play = journal.replay(play, count)
            results = tune(policy, subjects, play, options, slots, phase, with_oracle=final, chosen=chosen)
            advance(max(0, total - kept))  # a search that was sure early spent less than planned
            return results
        except TaskGivenUp:
            return []
        finally:
            if journal:
                journal.close()
            if pool.faults:
                say(pool.report())
