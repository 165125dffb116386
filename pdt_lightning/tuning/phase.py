"""One phase of tuning, as it runs: untuned episodes, the tuner's search, the evaluation of what it recommends, the oracle."""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_limits

from pdt_lightning.core.seeding import generator
from pdt_lightning.data.segments import Prompt
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Outcome, Rollout, one_thread, play_groups
from pdt_lightning.tuners import make_tuner
from pdt_lightning.tuning import oracle
from pdt_lightning.tuning.draws import Draws, Subject
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.record import Record, record
from pdt_lightning.tuning.result import EpisodeStatistics, TaskResult
from pdt_lightning.tuning.search import Cell, search


@dataclass(frozen=True)
class Recommendation:
    """A prompt that is put forward for a task.

    Args:
        prompt: one prompt.
        origin: in words, where each segment of it came from.
        value: what the tuner thinks it is worth; NaN where no tuner chose it.
    """

    prompt: Prompt
    origin: list[str]
    value: float = math.nan


def planned_rollouts(options: TuningOptions, tasks: int, with_oracle: bool, judged_only: bool = False) -> int:
    """Rollouts of a phase, for its progress bar."""
    each = 2 * options.verdict_episodes + (0 if judged_only else options.rounds + options.yardstick_episodes)
    if with_oracle and options.oracle_candidates:
        each += oracle.planned_rollouts(options.oracle_candidates, options.oracle_episodes) + options.verdict_episodes
    return tasks * each


def tune(
    policy: Policy,
    subjects: Sequence[Subject],
    play: Rollout,
    options: TuningOptions,
    slots: int,
    phase: int,
    with_oracle: bool = False,
    chosen: Mapping[str, Recommendation] | None = None,
) -> list[TaskResult]:
    """Run a phase for some tasks; what comes out for a task does not depend on which others run beside it.

    Args:
        policy: frozen.
        subjects: the tasks.
        play: rows → outcomes, with this policy.
        options: how.
        slots: `J`.
        phase: number of the phase, which decides all its randomness together with `options.seed`.
        with_oracle: whether to look for the oracle.
        chosen: prompts to judge, by task; with them no prompt is searched.

    Raises:
        RuntimeError: if all rollouts of a task failed.
    """
    draws = Draws(options.seed, phase, slots, options.verdict_episodes)
    with ExitStack() as held:
        # Encoding and the bandit's linear algebra too run on one thread, or ranks with other numbers of threads would differ.
        held.enter_context(torch.autocast(policy.model.state_mean.device.type, enabled=False))
        held.enter_context(one_thread())
        held.enter_context(threadpool_limits(1))
        before: list[list[Outcome]] = [[] for _ in subjects]
        cells: list[Cell] = []
        if chosen is None:
            before = play_groups(play, [draws.untuned(s, "yardstick", options.yardstick_episodes) for s in subjects])
            cells = searched(policy, subjects, play, options, draws)
            chosen = {cell.task.id: recommended(subject, cell) for subject, cell in zip(subjects, cells, strict=True)}
        prompts = [chosen[subject.task.id].prompt for subject in subjects]
        tuned = play_groups(play, [draws.judged(s, prompt) for s, prompt in zip(subjects, prompts, strict=True)])
        untuned = play_groups(play, [draws.untuned(s, "verdict", options.verdict_episodes) for s in subjects])
        best: Sequence[list[Outcome] | None] = [None] * len(subjects)
        if with_oracle and options.oracle_candidates:
            best = oracle_episodes(subjects, prompts, play, options, draws)

    def statistics(outcomes: Sequence[Outcome], subject: Subject) -> EpisodeStatistics:
        return EpisodeStatistics.of(outcomes, subject.task.id) if outcomes else EpisodeStatistics()

    results = []
    for number, subject in enumerate(subjects):
        found = chosen[subject.task.id]
        result = TaskResult(
            task=subject.task.id,
            held_out=subject.held_out,
            expert=EpisodeStatistics.demonstrated(subject.segments.episodes, subject.task.horizon or 0),
            yardstick=statistics(before[number], subject),
            untuned=statistics(untuned[number], subject),
            tuned=statistics(tuned[number], subject),
            oracle=None if best[number] is None else statistics(best[number] or (), subject),
            trials=cells[number].trials if cells else [],
            prompt=found.prompt,
            origin=found.origin,
            recommended_value=found.value,
        )
        if cells:
            result.record = recorded(result, subject, cells[number], options)
        results.append(result)
    return results


def searched(policy: Policy, subjects: Sequence[Subject], play: Rollout, options: TuningOptions, draws: Draws) -> list[Cell]:
    """The tuner's rounds on every task, side by side."""
    cells = []
    for subject in subjects:
        key = draws.key(subject, options.tuner)
        rng = generator(options.seed, "tuner", *key)
        given = options.tuner_options or {}
        tuner = make_tuner(options.tuner, subject.segments, options.rounds, rng, draws.slots, policy, **given)
        cells.append(Cell(subject.task, tuner, key))
    search(cells, play, options.seed, options.objective, options.parallel)
    return cells


def recommended(subject: Subject, cell: Cell) -> Recommendation:
    """What the tuner of a finished search puts forward."""
    best = cell.tuner.best()
    origin = [subject.segments.describe(segment) for segment in best.choice or ()]
    return Recommendation(best.prompt, origin, cell.tuner.best_value())


def oracle_episodes(
    subjects: Sequence[Subject], prompts: Sequence[Prompt], play: Rollout, options: TuningOptions, draws: Draws
) -> list[list[Outcome]]:
    """The evaluation's episodes with the best prompt of each task that was found by trying many, `prompts` among them."""
    others = options.oracle_candidates - 1
    pools = [Prompt.cat([own, draws.prompts(s, "oracle", others)]) for s, own in zip(subjects, prompts, strict=True)]
    tasks = [subject.task for subject in subjects]
    best = oracle.best_of(tasks, pools, play, options.oracle_episodes, options.objective, options.seed, draws.phase)
    return play_groups(play, [draws.judged(s, pool[[b]]) for s, pool, b in zip(subjects, pools, best, strict=True)])


def recorded(result: TaskResult, subject: Subject, cell: Cell, options: TuningOptions) -> Record:
    """What the figures of a task are drawn from."""
    objective = "success" if options.objective != "return" and result.tuned.successes and result.untuned.successes else "return"
    verdicts = {
        kind: figures.successes if objective == "success" else figures.returns
        for kind, figures in (("untuned", result.untuned), ("tuned", result.tuned), ("oracle", result.oracle))
        if figures is not None
    }
    return record(subject.task, subject.segments, options.tuner, cell.tuner, cell.trials, objective, verdicts)
