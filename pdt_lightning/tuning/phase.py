"""One phase of tuning, as it runs.

It has untuned episodes, the tuner's search, the evaluation of what it recommends, and the best found.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pdt_lightning.core.errors import NotFoundError, UserError
from pdt_lightning.core.seeding import generator
from pdt_lightning.core.terminal import say
from pdt_lightning.data.segments import Prompt
from pdt_lightning.rollouts.giving_up import GivingUp
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Outcome, Rollout, play_groups
from pdt_lightning.tuners import Tuner, make_tuner
from pdt_lightning.tuners.references import References
from pdt_lightning.tuning import oracle
from pdt_lightning.tuning.objective import Objective, decide
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.phase_episodes import PhaseEpisodes
from pdt_lightning.tuning.record import Record, record_of_search
from pdt_lightning.tuning.repeatable import repeatable
from pdt_lightning.tuning.result import EpisodeStatistics, TaskResult
from pdt_lightning.tuning.search import Cell, TaskGivenUp, search
from pdt_lightning.tuning.subject import Subject


@dataclass(frozen=True)
class Recommendation:
    """A prompt that is put forward for a task.

    Args:
        prompt: one prompt.
        origin: in words, where it comes from.
        value: what the tuner thinks it is worth; NaN where no tuner chose it.
    """

    prompt: Prompt
    origin: str
    value: float = math.nan


def saved_prompts(folder: Path, names: Sequence[str]) -> dict[str, Recommendation]:
    """The prompt of each task in a folder, and where it comes from.

    Raises:
        UserError: if one is missing or broken.
    """
    paths = {name: folder / f"{name}.safetensors" for name in names}
    if missing := [name for name, path in paths.items() if not path.is_file()]:
        raise NotFoundError(
            f"`tuning.prompts`={folder} has no prompt of {missing[0]}: {paths[missing[0]]} is missing. Name the tasks "
            "that it has prompts of with `tuning.tasks`, or the prompts of a run with this checkpoint's tasks."
        )
    try:
        return {name: Recommendation(*Prompt.load_with_origin(path)) for name, path in paths.items()}
    except UserError as error:
        raise UserError(f"`tuning.prompts`={folder}: {error}") from error


def planned_rollouts(options: TuningOptions, tasks: int, with_oracle: bool, judged_only: bool = False) -> int:
    """Rollouts of a phase, for its progress bar."""
    search = options.rounds > 0 and not judged_only
    each = 2 * options.verdict_episodes + (options.rounds + options.yardstick_episodes if search else 0)
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

    A task of which no episode can be played is given up, which is said, and the phase is run again for the others; what
    a journal has of it is not played again.

    Args:
        policy: frozen.
        subjects: the tasks.
        play: rows → outcomes, with this policy.
        options: how.
        slots: `J`.
        phase: number of the phase, which decides all its randomness together with `options.seed`.
        with_oracle: whether to look for the best that can be found.
        chosen: prompts to judge, by task; with them no prompt is searched.

    Returns:
        What was found, without the tasks that were given up.

    Raises:
        TaskGivenUp: if all of them were.
        UserError: if the objective is success and a task reports none.
    """
    episodes, left = PhaseEpisodes.from_options(options, slots, phase), list(subjects)
    while True:
        try:
            # Counted anew each time: what is known of a task may not depend on what became of others.
            return _tuned(policy, left, GivingUp(play), options, episodes, with_oracle, chosen)
        except TaskGivenUp as lost:
            left = [subject for subject in left if subject.task.id != lost.task]
            say(f"{lost.task} is given up: {lost}.{' The other tasks go on.' if left else ''}")
            if not left:
                raise


def _tuned(
    policy: Policy,
    subjects: Sequence[Subject],
    play: Rollout,
    options: TuningOptions,
    episodes: PhaseEpisodes,
    with_oracle: bool,
    chosen: Mapping[str, Recommendation] | None,
) -> list[TaskResult]:
    """A phase in which every task can be played."""
    # Where nothing is played no environment is asked for: prompts are chosen from demonstrations alone.
    plays = bool(options.rounds or options.verdict_episodes)
    objectives = [decide(options.objective, subject, plays) for subject in subjects]
    with repeatable(policy):
        before: list[list[Outcome]] = [[] for _ in subjects]
        cells: list[Cell] = []
        if chosen is None:
            if options.rounds:
                before = play_groups(
                    play, [episodes.untuned(s, "yardstick", options.yardstick_episodes) for s in subjects]
                )
            cells = run_searches(policy, subjects, objectives, play, options, episodes)
            chosen = {cell.task.id: recommend(cell.tuner) for cell in cells}
        recommendations = [chosen[subject.task.id] for subject in subjects]
        tuned = play_groups(play, [episodes.evaluation_rows(s, chosen[s.task.id].prompt) for s in subjects])
        untuned = play_groups(play, [episodes.untuned(s, "verdict", options.verdict_episodes) for s in subjects])
        best: Sequence[list[Outcome] | None] = [None] * len(subjects)
        if with_oracle and options.oracle_candidates:
            best = oracle_episodes(subjects, objectives, recommendations, cells, play, options, episodes)
        sensitivities = [References(subject.segments, policy).sensitivity(episodes.slots) for subject in subjects]

    results = []
    for number, (subject, objective) in enumerate(zip(subjects, objectives, strict=True)):
        trials = cells[number].trials if cells else []
        groups = {
            "yardstick": before[number],
            "untuned": untuned[number],
            "tuned": tuned[number],
            "oracle": best[number] or [],
        }
        everything = [
            *(trial.outcome for trial in trials),
            *(outcome for outcomes in groups.values() for outcome in outcomes),
        ]
        returns = [
            *subject.segments.episodes.index.returns,
            *(outcome.total for outcome in everything if outcome.failed is None),
        ]
        judged = {
            kind: EpisodeStatistics.of(outcomes, subject.task.id, objective.reports_success, returns)
            if outcomes
            else EpisodeStatistics()
            for kind, outcomes in groups.items()
        }
        result = TaskResult(
            task=subject.task.id,
            held_out=subject.held_out,
            expert=EpisodeStatistics.demonstrated(subject.segments.episodes, subject.task.horizon or 0),
            yardstick=judged["yardstick"],
            untuned=judged["untuned"],
            tuned=judged["tuned"],
            oracle=judged["oracle"] if groups["oracle"] else None,
            trials=trials,
            prompt=recommendations[number].prompt,
            origin=recommendations[number].origin,
            recommended_value=recommendations[number].value,
            budget=cells[number].tuner.budget if cells else 0,
            confidence=cells[number].tuner.confidence() if cells else math.nan,
            curves=cells[number].tuner.curves() if cells else {},
            memory=cells[number].tuner.memory() if cells else [],
            prompt_sensitivity=sensitivities[number],
        )
        if cells and options.verdict_episodes:
            result.record = make_record(result, subject, cells[number], options)
        results.append(result)
    return results


def run_searches(
    policy: Policy,
    subjects: Sequence[Subject],
    objectives: Sequence[Objective],
    play: Rollout,
    options: TuningOptions,
    episodes: PhaseEpisodes,
) -> list[Cell]:
    """The tuner's rounds on every task, side by side."""
    cells = []
    for subject, objective in zip(subjects, objectives, strict=True):
        key = episodes.seed_key(subject, options.tuner)
        rng = generator(options.seed, "tuner", *key)
        tuner_options = options.tuner_options or {}
        tuner = make_tuner(
            options.tuner, subject.segments, options.rounds, rng, episodes.slots, policy, **tuner_options
        )
        cells.append(Cell(subject.task, tuner, key, objective))
        tuner.remember(subject.remembered)
    search(cells, play, options.seed, options.parallel)
    return cells


def recommend(tuner: Tuner) -> Recommendation:
    """What the tuner of a finished search puts forward."""
    best = tuner.best()
    return Recommendation(best.prompt, best.origin, tuner.best_value())


def oracle_episodes(
    subjects: Sequence[Subject],
    objectives: Sequence[Objective],
    recommendations: Sequence[Recommendation],
    cells: Sequence[Cell],
    play: Rollout,
    options: TuningOptions,
    episodes: PhaseEpisodes,
) -> list[list[Outcome]]:
    """The evaluation's episodes with the best prompt of each task that was found, by tuning or among random ones."""
    tried = []
    for number, (subject, objective) in enumerate(zip(subjects, objectives, strict=True)):
        prompts = oracle.TriedPrompts(subject.task, objective)
        prompts.add(recommendations[number].prompt, recommendations[number].origin)
        for cell in cells[number : number + 1]:
            for trial in cell.trials:
                prompts.add(trial.candidate.prompt, trial.candidate.origin, [objective.value(trial.outcome)])
        for prompt, origin in episodes.prompts(subject, "oracle", options.oracle_candidates):
            prompts.add(prompt, origin)
        tried.append(prompts)
    best = oracle.best_of(tried, play, options.oracle_candidates, options.oracle_episodes, options.seed, episodes.phase)
    return play_groups(
        play, [episodes.evaluation_rows(s, prompt) for s, (prompt, _) in zip(subjects, best, strict=True)]
    )


def make_record(result: TaskResult, subject: Subject, cell: Cell, options: TuningOptions) -> Record:
    """What the figures of a task are drawn from."""
    verdicts = {
        kind: figures.returns if cell.objective.unit == "return" else figures.successes
        for kind, figures in (("untuned", result.untuned), ("tuned", result.tuned), ("oracle", result.oracle))
        if figures is not None
    }
    return record_of_search(
        subject.task, subject.segments, options.tuner, cell.tuner, cell.trials, cell.objective, verdicts
    )
