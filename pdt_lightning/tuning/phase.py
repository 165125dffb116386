"""One tuning phase: for each task the untuned yardstick, the bandit's rounds, the verdict on fresh episodes, and the oracle."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from pdt_lightning.core.errors import UserError, check_choice, check_range
from pdt_lightning.core.seeding import Key, generator, integer
from pdt_lightning.data.episodes import Episodes
from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.rollouts.environments import reports_success
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Outcome, Rollout, Row, one_thread, play_groups
from pdt_lightning.tasks.base import Task
from pdt_lightning.tuners import TUNERS, make_tuner
from pdt_lightning.tuners.exploration import EXPLORATIONS
from pdt_lightning.tuners.reward_models import REWARD_MODELS
from pdt_lightning.tuners.structured import CREDITS
from pdt_lightning.tuning import oracle
from pdt_lightning.tuning.record import Record, record
from pdt_lightning.tuning.search import Cell, Trial, search


@dataclass
class TuningOptions:
    """How prompts are tuned and judged.

    Args:
        tuner: `structured`, the bandit; `uniform`, no tuning; or a rival: `published`, `random_search`, `hill_climbing`,
            `zo_rank_sgd`, `flat`, `rollout_free`, `rollout_free_actions`.
        rounds: rollouts that the tuner may spend on a task.
        parallel: rollouts of a task between two fits of the tuner.
        features: of the segments, for the bandit: `encoded` by the transformer or `raw` values.
        reward_model: of the bandit: `linear` in closed form or an `mlp` ensemble.
        exploration: of the bandit: `thompson`, `ucb` or `epsilon_greedy`.
        credit: of the bandit: each slot of a prompt has its `own` share of the return, or the `whole`, as published.
        objective: `return`; `success`, ties broken by return; `auto`: success where the environment reports it.
        yardstick_episodes: untuned episodes of a task before tuning, each with a random prompt.
        verdict_episodes: fresh episodes on which the recommended prompt is judged, and as many untuned ones.
        oracle_candidates: prompts tried at the end of a run, for the best the transformer can do; 0: none.
        oracle_episodes: of each such prompt before the worse three quarters leave; those that stay get as many more, twice.
        videos: held-out tasks to film at the end of a run, untuned and tuned side by side; 0: none.
        seed: of tuning and of all its episodes.
    """

    tuner: str = "structured"
    rounds: int = 100
    parallel: int = 1
    features: str = "encoded"
    reward_model: str = "linear"
    exploration: str = "thompson"
    credit: str = "own"
    objective: str = "auto"
    yardstick_episodes: int = 10
    verdict_episodes: int = 25
    oracle_candidates: int = 100
    oracle_episodes: int = 2
    videos: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("tuner", TUNERS),
            ("features", ("encoded", "raw")),
            ("reward_model", REWARD_MODELS),
            ("exploration", EXPLORATIONS),
            ("credit", CREDITS),
            ("objective", ("auto", "return", "success")),
        ):
            check_choice(f"--tuning.{name}", getattr(self, name), known)
        for name, least in (
            ("rounds", 0),
            ("parallel", 1),
            ("yardstick_episodes", 1),
            ("verdict_episodes", 1),
            ("oracle_candidates", 0),
            ("oracle_episodes", 1),
            ("videos", 0),
        ):
            check_range(f"--tuning.{name}", getattr(self, name), least, 1_000_000)

    @property
    def bandit(self) -> dict[str, str]:
        """Those of the bandit alone."""
        return {name: getattr(self, name) for name in ("features", "reward_model", "exploration", "credit")}


@dataclass(frozen=True)
class Subject:
    """A task to tune, with what is known of it.

    Args:
        task: with horizon, target and scale settled.
        segments: its arms, whose demonstrations say what an expert gets.
        held_out: whether it is reported, or was trained on and serves to choose a checkpoint by.
    """

    task: Task
    segments: Segments
    held_out: bool = True


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
    def demonstrated(cls, episodes: Episodes) -> "EpisodeStatistics":
        """From demonstrations."""
        known = episodes.index.successes[~np.isnan(episodes.index.successes)]
        return cls(episodes.index.returns.tolist(), known.tolist())


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


def check_prompt(prompt: Prompt, subject: Subject, slots: int) -> None:
    """Refuse a prompt that was not made for such a task and model.

    Raises:
        UserError: naming the task.
    """
    expected = subject.segments.gather(np.zeros((1, slots), int))
    for name, values in vars(prompt).items():
        shape = tuple(getattr(expected, name).shape)
        if tuple(values.shape) != shape:
            raise UserError(
                f"--prompts: the prompt of {subject.task.id} has {name} of shape {tuple(values.shape)}, not {shape}. Give one that "
                "was saved with this checkpoint's options."
            )
        if not bool(values.isfinite().all()):
            raise UserError(f"--prompts: the prompt of {subject.task.id} has {name} that are not all finite. Give another one.")


def check_objective(objective: str, tasks: Sequence[Task]) -> None:
    """Refuse to tune for success where the environment reports none, before a run finds out at its end.

    Raises:
        UserError: naming the task.
    """
    if objective == "success" and tasks and not reports_success(tasks[0]):
        raise UserError(
            f"--tuning.objective=success: {tasks[0].env_name}, the environment of {tasks[0].id}, has no success in its info. "
            "Choose return or auto."
        )


def planned_rollouts(options: TuningOptions, tasks: int, with_oracle: bool, judged_only: bool = False) -> int:
    """Rollouts of a phase, for its progress bar."""
    each = 2 * options.verdict_episodes + (0 if judged_only else options.rounds + options.yardstick_episodes)
    if with_oracle and options.oracle_candidates:
        each += oracle.planned_rollouts(options.oracle_candidates, options.oracle_episodes) + options.verdict_episodes
    return tasks * each


@dataclass(frozen=True)
class Draws:
    """The prompts and episodes of a phase: they follow from seed, phase, task and purpose alone.

    Args:
        seed: of tuning.
        phase: its number.
        slots: `J`.
        verdict_episodes: on which a prompt is judged.
    """

    seed: int
    phase: int
    slots: int
    verdict_episodes: int

    def key(self, subject: Subject, purpose: str) -> tuple[Key, ...]:
        """By which what is drawn for a purpose, such as `verdict`, is drawn."""
        return (purpose, self.phase, subject.task.id)

    def choices(self, subject: Subject, purpose: str, count: int) -> np.ndarray:
        """`(count, J)` random segments."""
        rng = generator(self.seed, "random prompts", *self.key(subject, purpose))
        return rng.integers(len(subject.segments), size=(count, self.slots))

    def prompts(self, subject: Subject, purpose: str, count: int) -> Prompt:
        """So many random prompts."""
        return subject.segments.gather(self.choices(subject, purpose, count))

    def untuned(self, subject: Subject, purpose: str, episodes: int) -> list[Row]:
        """Episodes with a random prompt each."""
        prompts = self.prompts(subject, purpose, episodes)
        return self._rows(subject, purpose, [prompts[[n]] for n in range(episodes)])

    def judged(self, subject: Subject, prompt: Prompt) -> list[Row]:
        """The verdict's episodes, all with one prompt."""
        return self._rows(subject, "verdict", [prompt] * self.verdict_episodes)

    def _rows(self, subject: Subject, purpose: str, prompts: Sequence[Prompt]) -> list[Row]:
        key = self.key(subject, purpose)
        return [Row(subject.task, prompt, integer(self.seed, *key, n)) for n, prompt in enumerate(prompts)]


def tune(
    policy: Policy,
    subjects: Sequence[Subject],
    play: Rollout,
    options: TuningOptions,
    slots: int,
    phase: int,
    with_oracle: bool = False,
    given: dict[str, tuple[Prompt, list[str]]] | None = None,
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
        given: prompts to judge, with their origins, by task; where given no prompt is searched.

    Raises:
        RuntimeError: if all rollouts of a task failed.
    """

    draws = Draws(options.seed, phase, slots, options.verdict_episodes)
    # Encoding and the bandit's linear algebra too run on one thread, or ranks that were given different numbers would differ.
    with torch.autocast(policy.model.state_mean.device.type, enabled=False), one_thread(), threadpool_limits(1):
        yardsticks, cells = [], []
        if not given:
            yardsticks = play_groups(play, [draws.untuned(s, "yardstick", options.yardstick_episodes) for s in subjects])
            cells = [
                Cell(
                    subject.task,
                    make_tuner(
                        options.tuner,
                        subject.segments,
                        options.rounds,
                        generator(options.seed, "tuner", *draws.key(subject, options.tuner)),
                        slots,
                        policy,
                        **options.bandit,
                    ),
                    draws.key(subject, options.tuner),
                )
                for subject in subjects
            ]
            search(cells, play, options.seed, options.objective, options.parallel)
        prompts, origins, values = [], [], []
        for number, subject in enumerate(subjects):
            if given:
                prompt, origin = given[subject.task.id]
            else:
                recommended = cells[number].tuner.best()
                prompt = recommended.prompt
                origin = [subject.segments.describe(segment) for segment in recommended.choice or ()]
            prompts.append(prompt)
            origins.append(origin)
            values.append(math.nan if given else cells[number].tuner.best_value())
        verdicts = play_groups(play, [draws.judged(s, p) for s, p in zip(subjects, prompts, strict=True)])
        fresh = play_groups(play, [draws.untuned(s, "verdict", options.verdict_episodes) for s in subjects])
        oracles = None
        if with_oracle and options.oracle_candidates:
            others = options.oracle_candidates - 1
            pools = [Prompt.cat([p, draws.prompts(s, "oracle", others)]) for s, p in zip(subjects, prompts, strict=True)]
            tasks = [subject.task for subject in subjects]
            best = oracle.best_of(tasks, pools, play, options.oracle_episodes, options.objective, options.seed, phase)
            oracles = play_groups(play, [draws.judged(s, pool[[b]]) for s, pool, b in zip(subjects, pools, best, strict=True)])
        results = [
            TaskResult(
                task=subject.task.id,
                held_out=subject.held_out,
                expert=EpisodeStatistics.demonstrated(subject.segments.episodes),
                yardstick=EpisodeStatistics.of(yardsticks[n], subject.task.id) if yardsticks else EpisodeStatistics(),
                untuned=EpisodeStatistics.of(fresh[n], subject.task.id),
                tuned=EpisodeStatistics.of(verdicts[n], subject.task.id),
                oracle=EpisodeStatistics.of(oracles[n], subject.task.id) if oracles else None,
                trials=[] if given else cells[n].trials,
                prompt=prompts[n],
                origin=origins[n],
                recommended_value=values[n],
            )
            for n, subject in enumerate(subjects)
        ]
        for result, subject, cell in zip(results, subjects, cells, strict=not given):
            result.record = _record(result, subject, cell, options)
    return results


def _record(result: TaskResult, subject: Subject, cell: Cell, options: TuningOptions) -> Record:
    objective = "success" if options.objective != "return" and result.tuned.successes and result.untuned.successes else "return"
    verdicts = {
        kind: figures.successes if objective == "success" else figures.returns
        for kind, figures in (("untuned", result.untuned), ("tuned", result.tuned), ("oracle", result.oracle))
        if figures is not None
    }
    return record(subject.task, subject.segments, options.tuner, cell.tuner, cell.trials, objective, verdicts)


@dataclass(frozen=True)
class Example:
    """An episode that is worth a look.

    Args:
        kind: `untuned` or `tuned`.
        row: the episode.
        origin: in words, where each segment of its prompt came from.
    """

    kind: str
    row: Row
    origin: list[str]


def examples(subject: Subject, result: TaskResult, options: TuningOptions, slots: int, phase: int) -> tuple[Example, Example]:
    """The first episode of a task's verdict, with a random prompt and with the recommended one, to be played again."""
    draws = Draws(options.seed, phase, slots, options.verdict_episodes)
    untuned = draws.untuned(subject, "verdict", 1)[0]
    tuned = draws.judged(subject, result.prompt)[0]
    origin = [subject.segments.describe(int(segment)) for segment in draws.choices(subject, "verdict", 1)[0]]
    return Example("untuned", untuned, origin), Example("tuned", tuned, list(result.origin))
