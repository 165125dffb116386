"""Work: does one job of a comparison, and leaves its result in one file.

Episodes follow from checkpoint, task and seed alone, so that whatever is compared is compared on the same ones.
"""

import functools
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pdt_lightning.comparison.plan import DEFAULT, FINETUNE, ORACLE, UNTUNED, Job, Plan, variant_options
from pdt_lightning.comparison.tried import add_tried, save_prompts
from pdt_lightning.core.files import write_atomically
from pdt_lightning.core.seeding import generator
from pdt_lightning.data.segments import Prompt
from pdt_lightning.model.attention_maps import attention_along
from pdt_lightning.model.checkpoints import load
from pdt_lightning.rollouts.engine import RolloutEngine
from pdt_lightning.rollouts.engines import make_engine
from pdt_lightning.rollouts.finetuning import finetuned
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Outcome, Rollout, Row, play_groups
from pdt_lightning.tuners import Candidate, make_tuner
from pdt_lightning.tuners.references import References
from pdt_lightning.tuning import oracle
from pdt_lightning.tuning.journal import journaled, path_of
from pdt_lightning.tuning.objective import Objective, Option, decide
from pdt_lightning.tuning.phase_episodes import PhaseEpisodes
from pdt_lightning.tuning.repeatable import repeatable
from pdt_lightning.tuning.result import EpisodeStatistics
from pdt_lightning.tuning.search import Cell, search
from pdt_lightning.tuning.subject import Subject, subjects_of

# Of the first checkpoint, -3 of the second: of no run and no `tune`, so that no episode is one that either has played.
PHASE = -2
RANDOM_PROMPTS = 4  # of a cell, whose attention is compared with that of the recommended one


def work(plan: Plan, job: Job, folder: Path, on_rollouts: Callable[[int], object]) -> None:
    """Do a job and leave its file.

    Args:
        plan: of the comparison.
        job: one of its jobs.
        folder: of the comparison. A journal of rollouts is kept there while the job lasts: stopped, it goes on where it
            was.
        on_rollouts: told how many rollouts have ended; may raise, to stop.

    Fine-tuning alone, whose policies are many and soon played, begins again.
    """
    path, family_options = plan.checkpoints[job.checkpoint], json.dumps(plan.family_options)
    how = (plan.precision, plan.prompt_tokens)
    policy, subjects, objectives = _opened(path, plan.tasks, how, family_options, plan.options.objective)
    notes = folder / "journal" / job.file(folder).stem
    engine = make_engine(plan.engine, 0, plan.width)
    try:
        with repeatable(policy), journaled(path_of(notes, 0, 0), policy, engine, on_rollouts) as play:
            if job.name == ORACLE:
                found = _oracle(plan, job, subjects, objectives, play, folder)
            elif job.name == FINETUNE:
                found = _finetuned(plan, job, subjects, objectives, policy, engine, on_rollouts)
            else:
                found = _tuned(plan, job, subjects, objectives, policy, play, folder)
    finally:
        engine.close()
    write_atomically(job.file(folder), json.dumps({"checkpoint": job.checkpoint, "tuner": job.name, **found}) + "\n")
    shutil.rmtree(notes, ignore_errors=True)


@functools.lru_cache(maxsize=1)
def _opened(
    path: str, tasks: tuple[str, ...], how: tuple[str, int | None], family_options: str, objective: Option
) -> tuple[Policy, list[Subject], dict[str, Objective]]:
    module, data = load(path, json.loads(family_options))
    data.prepare_candidates()
    subjects = subjects_of(data, tasks)
    return Policy.of(module, *how), subjects, {subject.task.id: decide(objective, subject) for subject in subjects}


def _cells(plan: Plan, subjects: Sequence[Subject]) -> list[tuple[int, Subject]]:
    return [(seed, subject) for seed in range(plan.seeds) for subject in subjects]


def _phase_episodes(plan: Plan, checkpoint: int, seed: int) -> PhaseEpisodes:
    return PhaseEpisodes(seed, PHASE - checkpoint, plan.slots, plan.options.verdict_episodes, seed)


def _tuned(
    plan: Plan,
    job: Job,
    subjects: Sequence[Subject],
    objectives: Mapping[str, Objective],
    policy: Policy,
    play: Rollout,
    folder: Path,
) -> dict[str, Any]:
    checkpoint, name = job.checkpoint, job.name
    options, budgets = variant_options(name, plan.options), plan.budgets_of(name)
    # A search of its own for each budget, since tuners plan with theirs; all in one, so that batches are full.
    places = [(budget, seed, subject) for budget in budgets for seed, subject in _cells(plan, subjects)]
    cells = [
        Cell(
            subject.task,
            make_tuner(
                options.tuner,
                subject.segments,
                budget,
                generator(seed, "compare", checkpoint, subject.task.id),
                plan.slots,
                policy,
                **(options.tuner_options or {}),
            ),
            ("compare", checkpoint, subject.task.id, seed),
            objectives[subject.task.id],
        )
        for budget, seed, subject in places
    ]
    search(cells, play, 0, options.parallel)
    # Untuned, it is a fresh random prompt each time that is judged.
    recommended = [None if name == UNTUNED else cell.tuner.best() for cell in cells]

    def episodes(seed: int, subject: Subject, candidate: Candidate | None) -> list[Row]:
        phase_episodes = _phase_episodes(plan, checkpoint, seed)
        if candidate is None:
            return phase_episodes.untuned(subject, "verdict", plan.options.verdict_episodes)
        return phase_episodes.evaluation_rows(subject, candidate.prompt)

    judged = list(zip(places, recommended, strict=True))
    verdicts = play_groups(play, [episodes(seed, subject, candidate) for (_, seed, subject), candidate in judged])
    rows = [
        _row(subject, objectives, seed, budget, outcomes, candidate)
        for ((budget, seed, subject), candidate), outcomes in zip(judged, verdicts, strict=True)
    ]
    last = [(seed, cell) for (budget, seed, _), cell in zip(places, cells, strict=True) if budget == budgets[-1]]
    for (budget, _, subject), candidate, row in zip(places, recommended, rows, strict=True):
        if candidate and budget == budgets[-1]:
            _keep(row, subject, candidate.prompt, job, folder)
    trials = [
        {
            "task": cell.task.id,
            "seed": seed,
            "round": trial.candidate.id,
            "return": None if trial.outcome.failed else trial.outcome.total,
            "success": None if trial.outcome.failed else trial.outcome.success,
            "last_success": None if trial.outcome.failed else trial.outcome.last_success,
            "length": trial.outcome.length,
            "origin": trial.candidate.origin,
            "predicted": trial.candidate.predicted,
            "recommended_value": trial.recommended_value,
        }
        for seed, cell in last
        for trial in cell.trials
    ]
    prompts = [candidate.prompt for candidate in recommended if candidate]
    prompts += [trial.candidate.prompt for _, cell in last for trial in cell.trials]
    kept = [row for row, candidate in zip(rows, recommended, strict=True) if candidate]
    save_prompts([*kept, *trials], prompts, job.file(folder).with_suffix(".safetensors"))
    seconds = sum(cell.seconds for _, cell in last) / len(trials) if trials else None
    found: dict[str, Any] = {"seconds_per_round": seconds, "trials": trials, "recommended": rows}
    if name == UNTUNED:
        found["prompt_sensitivity"] = {
            subject.task.id: References(subject.segments, policy).sensitivity(plan.slots) for subject in subjects
        }
    if name == DEFAULT and plan.slots > 1 and policy.model.use_prompt:
        prompts = [candidate.prompt for candidate in recommended[-len(last) :] if candidate]
        found["attention"] = _attention(plan, checkpoint, policy, _cells(plan, subjects), prompts)
    return found


def _attention(
    plan: Plan, checkpoint: int, policy: Policy, places: Sequence[tuple[int, Subject]], tuned: Sequence[Prompt]
) -> list[dict[str, Any]]:
    """Where the transformer looks along a demonstration, prompted by what was recommended and by random prompts."""
    rows = []
    for (seed, subject), recommended in zip(places, tuned, strict=True):
        episodes = subject.segments.episodes
        others = _phase_episodes(plan, checkpoint, seed).prompts(subject, "attention", RANDOM_PROMPTS)
        for kind, prompt in (("tuned", recommended), *(("random", other) for other, _ in others)):
            place = seed % len(episodes)
            shares = attention_along(policy.model, policy.context_steps, episodes, place, prompt, plan.slots)
            shares = shares.mean(axis=1)  # (layers, J), over the steps
            rows.append({"task": subject.task.id, "seed": seed, "kind": kind, "shares": shares.tolist()})
    return rows


def _oracle(
    plan: Plan, job: Job, subjects: Sequence[Subject], objectives: Mapping[str, Objective], play: Rollout, folder: Path
) -> dict[str, Any]:
    """What every tuner with this checkpoint has tried competes with random prompts; all of its jobs have to be done."""
    candidates, episodes = plan.options.oracle_candidates, plan.options.oracle_episodes
    phase_episodes, tried = [_phase_episodes(plan, job.checkpoint, seed) for seed in range(plan.seeds)], []
    for subject in subjects:
        tried.append(oracle.TriedPrompts(subject.task, objectives[subject.task.id]))
        add_tried(tried[-1], plan, job.checkpoint, folder)
        for prompt, origin in phase_episodes[0].prompts(subject, "oracle", candidates):
            tried[-1].add(prompt, origin)
    found = oracle.best_of(tried, play, candidates, episodes, 0, phase_episodes[0].phase)
    best = {s.task.id: Candidate(-1, prompt, origin) for s, (prompt, origin) in zip(subjects, found, strict=True)}
    cells, rows = _cells(plan, subjects), []
    verdicts = play_groups(
        play, [phase_episodes[seed].evaluation_rows(subject, best[subject.task.id].prompt) for seed, subject in cells]
    )
    for (seed, subject), outcomes in zip(cells, verdicts, strict=True):
        rows.append(_row(subject, objectives, seed, 0, outcomes, best[subject.task.id]))
        _keep(rows[-1], subject, best[subject.task.id].prompt, job, folder)
    return {"recommended": rows}


def _finetuned(
    plan: Plan,
    job: Job,
    subjects: Sequence[Subject],
    objectives: Mapping[str, Objective],
    policy: Policy,
    engine: RolloutEngine,
    on_rollouts: Callable[[int], object],
) -> dict[str, Any]:
    rows = []
    for seed, subject in _cells(plan, subjects):
        new_policy = finetuned(policy, subject.segments, plan.slots, generator(seed, "finetune", subject.task.id))
        play = engine.with_policy(new_policy, lambda rows, outcomes: on_rollouts(len(outcomes)))
        outcomes = play(
            _phase_episodes(plan, job.checkpoint, seed).untuned(subject, "verdict", plan.options.verdict_episodes)
        )
        rows.append(_row(subject, objectives, seed, 0, outcomes))
    return {"recommended": rows}


def _row(
    subject: Subject,
    objectives: Mapping[str, Objective],
    seed: int,
    rollouts: int,
    outcomes: Sequence[Outcome],
    candidate: Candidate | None = None,
) -> dict[str, Any]:
    """Of a cell, with the prompt that was judged; None: a random one in each episode.

    Its return is that of the episodes that could be played. What the others count as, all jobs together tell.
    """
    segments, choice = subject.segments, candidate.choice if candidate else ()
    figures = EpisodeStatistics.of(outcomes, subject.task.id, objectives[subject.task.id].reports_success)
    played = [outcome.total for outcome in outcomes if outcome.failed is None]
    return {
        "task": subject.task.id,
        "seed": seed,
        "rollouts": rollouts,
        "return": sum(played) / len(played),
        "success": sum(figures.successes) / len(figures.successes) if figures.successes else None,
        "last_success": sum(figures.last_successes) / len(figures.last_successes) if figures.last_successes else None,
        "failed": figures.failed,
        "episodes": len(outcomes),
        "lowest": min([*played, *segments.episodes.index.returns.tolist()]),
        "segments": [[int(segments.episode[number]), int(segments.start[number])] for number in choice],
        "origin": candidate.origin if candidate else "a random prompt in each episode",
        "lengths": segments.episodes.lengths.tolist(),
        "steps": segments.steps,
    }


def _keep(row: dict[str, Any], subject: Subject, prompt: Prompt, job: Job, folder: Path) -> None:
    """Save the prompt of a row, for `tune --prompts` and `pdt_lightning.load`; the row is told where."""
    path = folder / "prompts" / job.file(folder).stem / f"seed_{row['seed']}" / f"{subject.task.id}.safetensors"
    prompt.save(path, row["origin"], **subject.task.facts())
    row["file"] = path.relative_to(folder).as_posix()
