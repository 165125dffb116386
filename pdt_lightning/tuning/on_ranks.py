"""A phase on all ranks: they share its tasks and its rollouts, keep what was played, and say what went wrong."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from pdt_lightning.core.distributed import everywhere, place, shard, together
from pdt_lightning.core.signals import Interrupted, StopRequest
from pdt_lightning.core.terminal import progress_bar, say
from pdt_lightning.rollouts.engine import RolloutEngine
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Outcome, Rollout, Row
from pdt_lightning.tuning.journal import Journal, path_of
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.phase import Recommendation, planned_rollouts, tune
from pdt_lightning.tuning.result import TaskResult
from pdt_lightning.tuning.search import TaskGivenUp
from pdt_lightning.tuning.subject import Subject


def tune_on_ranks(
    policy: Policy,
    subjects: Sequence[Subject],
    engine: RolloutEngine,
    options: TuningOptions,
    slots: int,
    phase: int,
    final: bool,
    folder: Path | None,
    request: StopRequest | None,
    progress: bool,
    chosen: Mapping[str, Recommendation] | None = None,
) -> list[TaskResult]:
    """Tune these tasks, or judge prompts of them; a collective, whose results are alike for any number of ranks.

    Each rank does the arithmetic of its share of the tasks. The rollouts of all tasks are shared out evenly among all
    ranks, also among those that have no task.

    Args:
        policy: frozen, and the same on all ranks.
        subjects: the tasks of all ranks.
        engine: by which this rank plays.
        options: how prompts are tuned and judged.
        slots: `J`.
        phase: its number; below 0 outside of a run.
        final: whether to look for the best that can be found.
        folder: of the ranks' journals; None: none is kept.
        request: may end the phase between two blocks of rollouts.
        progress: show a bar, on the first rank.
        chosen: prompts to judge, by task.

    Returns:
        What was found, in the order of the tasks, without those that were given up.

    Raises:
        Interrupted: on all ranks, if one was asked to stop.
    """
    (rank, ranks), judging = place(), chosen is not None
    mine, total = shard(subjects, rank, ranks), planned_rollouts(options, len(subjects), final, judging) // ranks
    journal: Journal | None = None
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
            raise Interrupted(f"in {where}, of which all rollouts so far are kept")

    def tune_mine(play: Rollout) -> list[TaskResult]:
        if not mine:
            return []
        known = journal.replay(play, count) if journal else play
        try:
            return tune(policy, mine, known, options, slots, phase, with_oracle=final, chosen=chosen)
        except TaskGivenUp:
            return []

    title = f"{'Judging' if judging else 'Tuning'} prompts{f', phase {phase}' if phase >= 0 else ''}"
    with ExitStack() as last:
        advance = last.enter_context(progress_bar(title, total, "rollout", progress and not rank))
        if folder:
            path = path_of(folder, phase if phase >= 0 else "tune", rank)
            journal = everywhere(lambda: Journal(path, policy, engine.width))
            last.callback(journal.close)
        last.callback(lambda: say(engine.report()) if engine.faults else None)
        found = together(tune_mine, engine.with_policy(policy, played))
        advance(max(0, total - kept))  # a search that was sure early spent less than planned
    by_task = {result.task: result for of_rank in found for result in of_rank}
    return [by_task[subject.task.id] for subject in subjects if subject.task.id in by_task]
