"""Transfer of prompts: each task's prompt played on every task and checkpoint, and what foretells how it does.

Two prompts overlap as far as they make the same units of the transformer active. What is played on a task is compared
on the same episodes, and the overlap is that with the task's own prompt, in the transformer that plays.

Source: Su et al. 2022 (arXiv 2111.06719), there of soft prompts of language models: prompts transfer the better the
more the units overlap that they activate.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from pdt_lightning.core.errors import UserError
from pdt_lightning.core.seeding import generator, integer
from pdt_lightning.core.terminal import say
from pdt_lightning.data.segments import Prompt
from pdt_lightning.data.windows import Steps
from pdt_lightning.model.checkpoints import load
from pdt_lightning.results.report import summary_of_episodes
from pdt_lightning.results.statistics import mean_interval
from pdt_lightning.rollouts.engine import RolloutEngine
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Outcome, Row, play_groups
from pdt_lightning.tuners.spaces import Choices
from pdt_lightning.tuning.journal import journaled, path_of
from pdt_lightning.tuning.phase import Recommendation, saved_prompts
from pdt_lightning.tuning.repeatable import repeatable
from pdt_lightning.tuning.result import EpisodeStatistics
from pdt_lightning.tuning.search import TaskGivenUp
from pdt_lightning.tuning.subject import Subject, check_prompt, subjects_of

RANDOM = "random"  # in place of a prompt: another one of the task's own segments in each episode


@dataclass(frozen=True)
class Place:
    """A checkpoint with the tasks to play, and a prompt of each.

    Args:
        path: of the checkpoint.
        policy: frozen.
        subjects: the tasks.
        prompts: by task.
        slots: `J`, segments in a prompt.
    """

    path: str
    policy: Policy
    subjects: list[Subject]
    prompts: Mapping[str, Recommendation]
    slots: int


def opened(
    path: str,
    prompts: Path,
    tasks: Sequence[str] | None,
    precision: str,
    prompt_tokens: int | None,
    family_options: Mapping[str, Any] | None,
) -> Place:
    """A checkpoint and its prompts.

    Args:
        path: of the checkpoint.
        prompts: folder of saved prompts.
        tasks: ids of held-out tasks; None: all.
        precision: of the transformer.
        prompt_tokens: see `Policy`.
        family_options: in place of those that it was trained with.

    Raises:
        UserError: if one of them is missing, or does not fit.
    """
    module, data = load(path, family_options)
    names = data.chosen(tasks)
    found = saved_prompts(prompts, names)
    data.prepare_candidates()
    policy = Policy.of(module, precision, prompt_tokens)
    return Place(path, policy, subjects_of(data, names), found, data.hparams["segments"])


def check_places(places: Sequence[Place]) -> None:
    """Refuse prompts that a checkpoint cannot be given.

    Raises:
        UserError: naming the two checkpoints.
    """
    for place in places:
        for other in places:
            for name, own in other.prompts.items():
                try:
                    check_prompt(own.prompt, place.subjects[0], place.slots)
                except UserError as error:
                    raise UserError(
                        f"`ckpt_path`: the prompt of {name} that belongs to {other.path} cannot be played by "
                        f"{place.path}: {error}"
                    ) from error


def planned_rollouts(places: Sequence[Place], episodes: int) -> int:
    """Rollouts of the whole matrix, with the random prompts."""
    tasks = sum(len(place.subjects) for place in places)
    return tasks * (tasks + 1) * episodes


def transferred(
    places: Sequence[Place],
    engine: RolloutEngine,
    episodes: int,
    seed: int,
    folder: Path,
    on_rollouts: Callable[[int], object],
) -> list[dict[str, Any]]:
    """Play the matrix.

    Args:
        places: the checkpoints; each one's number stands for it.
        engine: plays.
        episodes: fresh ones of each pair of a prompt and a task, the same for all prompts.
        seed: of these.
        folder: where a journal of them is kept.
        on_rollouts: told how many have ended; may raise, to stop.

    Returns:
        For each pair where the prompt is from (`from_checkpoint`, `prompt_of`) and where it was played (`checkpoint`,
        `task`); the figures of `summary_of_episodes`; how much better than the task's own prompt it was (`transfer`),
        as a share of success or in units of the task's return scale; and the `overlap` with that one, None where the
        transformer has blocks of another kind. Of random prompts `prompt_of` is `RANDOM`.

    Raises:
        UserError: if no episode of a pair could be played.
    """
    prompts = [(number, name, own.prompt) for number, one in enumerate(places) for name, own in one.prompts.items()]
    rows: list[dict[str, Any]] = []
    for number, place in enumerate(places):
        overlaps = overlaps_of(place.policy, [prompt for *_, prompt in prompts])
        groups = [
            _episodes(subject, tried, episodes, seed)
            for subject in place.subjects
            for tried in [*([prompt] * episodes for *_, prompt in prompts), _random(subject, place, episodes, seed)]
        ]
        path = path_of(folder / "journal", number, 0)
        try:
            with repeatable(place.policy), journaled(path, place.policy, engine, on_rollouts) as play:
                outcomes = iter(play_groups(play, groups))
        finally:
            if engine.faults:
                say(engine.report())
        for subject in place.subjects:
            own = next(n for n, (of, name, _) in enumerate(prompts) if (of, name) == (number, subject.task.id))
            figures = [_figures(subject, next(outcomes)) for _ in [*prompts, RANDOM]]
            for n, figure in enumerate(figures):
                known = n < len(prompts)
                rows.append(
                    {
                        "from_checkpoint": prompts[n][0] if known else number,
                        "prompt_of": prompts[n][1] if known else RANDOM,
                        "checkpoint": number,
                        "task": subject.task.id,
                        **figure,
                        "transfer": _better(figure, figures[own], subject),
                        "overlap": float(overlaps[n, own]) if known and overlaps is not None else None,
                    }
                )
    return rows


def _episodes(subject: Subject, prompts: Sequence[Prompt], count: int, seed: int) -> list[Row]:
    return [Row(subject.task, prompts[n], integer(seed, "transfer", subject.task.id, n)) for n in range(count)]


def _random(subject: Subject, place: Place, count: int, seed: int) -> list[Prompt]:
    space, rng = Choices(subject.segments, place.slots), generator(seed, "transfer, random prompts", subject.task.id)
    return [space.prompt(space.sample(rng)) for _ in range(count)]


def _figures(subject: Subject, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    known = subject.segments.episodes.index.returns
    try:
        of = EpisodeStatistics.of(outcomes, subject.task.id, subject.reports_success, known)
    except TaskGivenUp as lost:
        raise UserError(f"`tuning.tasks`: {lost}. Mend its environment, or leave the task out.") from lost
    return {**(summary_of_episodes([of]) or {}), "episodes": len(outcomes)}


def _better(one: Mapping[str, Any], own: Mapping[str, Any], subject: Subject) -> float:
    if one["success"] is not None:
        return one["success"] - own["success"]
    return (one["return"] - own["return"]) / (subject.task.return_scale or 1.0)


def active_units(policy: Policy, prompts: Sequence[Prompt]) -> np.ndarray | None:
    """`(P, inner)` bool: which units of the last block's perceptron each prompt makes active.

    They are looked at at the state of a single step behind the prompt, whose return-to-go is 0 and whose state is at
    the mean. It is None for a transformer that has no such blocks.
    """
    model = policy.model
    if model.folded() is None:
        return None
    count, seen = len(prompts), []
    middle = torch.zeros(count, 1, dtype=torch.int64)
    nothing = Steps(
        torch.zeros(count, 1, 1),
        model.state_mean.cpu().expand(count, 1, -1),
        model.action_mid.cpu().expand(count, 1, -1),
        middle,
        middle == 0,
    )
    hook = model.transformer.blocks[-1].expand.register_forward_hook(lambda *args: seen.append(args[-1] > 0))  # type: ignore[union-attr]
    try:
        with torch.inference_mode():
            device = model.state_mean.device
            model(nothing.to(device), Prompt.cat(list(prompts)).to(device))
    finally:
        hook.remove()
    return seen[0][:, -1].cpu().numpy()


def overlaps_of(policy: Policy, prompts: Sequence[Prompt]) -> np.ndarray | None:
    """`(P, P)` cosines of what prompts make active, 0 to 1; None for a transformer that has no such blocks."""
    active = active_units(policy, prompts)
    return None if active is None else cosines(active)


def cosines(active: np.ndarray) -> np.ndarray:
    """`(P, P)` cosines of the rows of `active (P, n)`, as vectors of ones and zeros; 0 where one has no ones.

    >>> cosines(np.array([[True, True, False], [True, False, False]])).round(2).tolist()
    [[1.0, 0.71], [0.71, 1.0]]
    """
    values = active.astype(float)
    lengths = np.sqrt(values.sum(axis=1))
    return np.minimum(values @ values.T / np.maximum(np.outer(lengths, lengths), 1e-9), 1.0)


def correlation(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How well overlap foretells transfer: Spearman's rank correlation over the prompts played on each task.

    A task's own prompt and random ones are left out. Pairs of one task have the task in common, so that each is one
    value; a task whose prompts all do alike says nothing.

    Returns:
        `mean`, `low` and `high` over tasks, with a 95 % t interval; `tasks` and `pairs`, how many they are from. They
        are None where there is nothing to correlate.
    """
    known = [row for row in rows if row["overlap"] is not None and not is_own(row)]
    places = dict.fromkeys((row["checkpoint"], row["task"]) for row in known)
    found, pairs = [], 0
    for place in places:
        own = [row for row in known if (row["checkpoint"], row["task"]) == place]
        overlap, transfer = (np.array([row[name] for row in own]) for name in ("overlap", "transfer"))
        if len(own) > 2 and np.ptp(overlap) > 0 and np.ptp(transfer) > 0:
            found.append(float(stats.spearmanr(overlap, transfer).statistic))
            pairs += len(own)
    if not found:
        return {"mean": None, "low": None, "high": None, "tasks": 0, "pairs": 0}
    ends = (float(end) if np.isfinite(end) else None for end in mean_interval([found]))
    return {**dict(zip(("mean", "low", "high"), ends, strict=True)), "tasks": len(found), "pairs": pairs}


def is_own(row: Mapping[str, Any]) -> bool:
    """Whether a prompt was played where it was tuned."""
    return (row["from_checkpoint"], row["prompt_of"]) == (row["checkpoint"], row["task"])
