"""What can be told of demonstrations and options before anything is collected, read or trained."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import gymnasium as gym
import numpy as np

from pdt_lightning.core import cache
from pdt_lightning.core.errors import UserError, check_memory, suggestion
from pdt_lightning.data import minari
from pdt_lightning.data.episodes import Episodes
from pdt_lightning.data.segments import Segments
from pdt_lightning.tasks import recorded
from pdt_lightning.tasks.actions import choices_of, encode, flat_actions
from pdt_lightning.tasks.base import Recipe, Task
from pdt_lightning.tasks.spaces import difference, flat_observations
from pdt_lightning.tasks.trial import try_out


def check_datasets(tasks: Sequence[Task], kind: str, recipes: Mapping[str, Recipe]) -> None:
    """Refuse tasks whose datasets are not named, neither here nor to be collected, or of another environment.

    Args:
        tasks: of a family.
        kind: `training_data` or `prompt_data`.
        recipes: by dataset id, of what can be collected.

    Raises:
        UserError: naming the task or the dataset.
    """
    for task in tasks:
        names = getattr(task, kind)
        if not names:
            raise UserError(
                f"{task.id} lists no {kind}: training tasks need training_data, those that are tuned prompt_data."
            )
        for name in names:
            if minari.exists(name):
                check_environment(name, task)
            elif name not in recipes:
                raise cache.not_found(name)


def check_environments(tasks: Sequence[Task], recipes: Mapping[str, Recipe]) -> gym.spaces.Box:
    """Refuse environments with which no run could work.

    These are the ones that cannot be built here, are of other sizes than the first, are unlike what was recorded, or do
    not work.

    Every task's is built. Those that datasets name are tried too, and of those that a family's code makes the first and
    the last.

    Args:
        tasks: of a family.
        recipes: by dataset id, of what is collected here and therefore is of the task's own environment.

    Returns:
        The box that holds the actions of all tasks; infinite where one of theirs is.

    Raises:
        UserError: naming the task.
    """
    of_code: dict[str, list[Task]] = {}
    for task in tasks:
        of_code.setdefault(task.env_name, []).append(task)
    tried = {task.id for group in of_code.values() for task in (group[0], group[-1])}
    boxes, sizes, choices = [], None, dict[tuple[int, ...], tuple[Task, gym.Space]]()
    for task in tasks:
        bare = task.bare_env()
        env = flat_actions(flat_observations(bare))
        if isinstance(task.env_id, str) and ":" not in task.env_id and not isinstance(task.spec().entry_point, str):
            raise task.error(
                "is registered under a function or a class, which worker processes and saved prompts cannot find. "
                "Register it under a string, such as my_package.family:DoorEnv."
            )
        own = (env.observation_space.shape, env.action_space.shape)
        sizes = sizes or own
        for kind, size, first in zip(("observations", "actions"), own, sizes, strict=True):
            if size != first:
                raise UserError(
                    f"{task.id}: {task.env_name} has {kind} of size {size[0]}, but {tasks[0].env_name} of "
                    f"{tasks[0].id} has {first[0]}. All tasks of a run share one size."
                )
        choices.setdefault(choices_of(bare.action_space), (task, bare.action_space))
        if len(choices) > 1:
            (one, known), (other, unlike) = choices.values()
            raise UserError(
                f"{other.id} has actions of {unlike}, but {one.id} of {known}. All tasks of a run share one kind of "
                "action."
            )
        known = [
            recorded.of(name)
            for name in (*task.training_data, *task.prompt_data)
            if name not in recipes and minari.exists(name)
        ]
        for one in known:
            _check_spaces(one, task, bare)
        if task.id in tried or not isinstance(task.env_id, str):
            try_out(env, task, _first_actions(known[0]) if known else None)
        boxes.append((env.action_space.low, env.action_space.high))
        with suppress(Exception):  # of foreign code, which is not needed any more
            env.close()
    low, high = (extreme([box[n] for box in boxes], axis=0) for n, extreme in enumerate((np.min, np.max)))
    return gym.spaces.Box(low, high, low.shape, low.dtype)


def _first_actions(one: recorded.Recorded) -> np.ndarray:
    """`(T, A)`: the first few that were recorded."""
    try:
        return encode(one.actions, one.spaces[1])
    except ValueError as error:
        raise UserError(f"Minari dataset {one.id}: its first actions: {error}. Record them anew.") from error


def _check_spaces(one: recorded.Recorded, task: Task, bare: gym.Env) -> None:
    """Refuse a dataset whose values mean something else than those of the environment that they would be used in."""
    recorded.supported(f"Minari dataset {one.id}", *one.spaces)
    for kind, ours, theirs in zip(
        ("observations", "actions"), one.spaces, (bare.observation_space, bare.action_space), strict=True
    ):
        if reason := difference(ours, theirs):
            raise UserError(
                f"Minari dataset {one.id} has {kind} unlike those of {task.env_name}, the environment of {task.id}: "
                f"{reason}. Record it again in this environment, or install the version that the dataset was recorded "
                "in."
            )


def check_environment(dataset_id: str, task: Task) -> None:
    """Refuse a dataset on this machine that was recorded in another environment than its task's, or in another version.

    (A task whose environment is the one that its datasets name has been checked with them.)

    Raises:
        UserError: naming both.
    """
    text = minari.recorded(dataset_id).get("env_spec")
    if not text or not isinstance(task.env_id, str):
        return
    try:
        found = json.loads(text)
    except ValueError as error:
        raise cache.unreadable(dataset_id, error) from error
    registered = gym.registry.get(task.env_name)
    asked = {**(registered.kwargs if registered else {}), **task.env_kwargs}
    # As JSON has them, in which tuples are lists.
    if (found["id"], found.get("kwargs")) != (task.env_name, json.loads(json.dumps(asked))):
        raise UserError(
            f"Minari dataset {dataset_id} was recorded in {found['id']} {found.get('kwargs')}, but the environment of "
            f"{task.id} is {task.env_name} {asked}. Remove {minari.path_of(dataset_id)} to have it collected again, or "
            "correct the id."
        )


def validation_episodes(share: float, task: str, episodes: int) -> int:
    """How many of a task's training episodes validate.

    Raises:
        UserError: if too few are left to train on.
    """
    count = max(1, round(share * episodes))
    if episodes - count < 2:
        raise UserError(
            f"`data.validation_share`={share}: {task} has {episodes} training episodes and {count} of them validate; "
            "at least 2 have to be left, as a prompt never comes from its window's own episode. Lower it, or add "
            "episodes."
        )
    return count


def check_training_tasks(names: Sequence[str], known: Sequence[str]) -> None:
    """Refuse tasks to tune for validation that are not training tasks.

    Raises:
        UserError: naming the first one.
    """
    if unknown := [name for name in names if name not in known]:
        raise UserError(
            f"`tuning.validation_tasks`: {unknown[0]} is not a training task. They are: {', '.join(known)}."
            f"{suggestion(unknown[0], known)}"
        )


def check_ranks(batch_size: int, ranks: int) -> None:
    """Refuse batches of which some ranks would have nothing.

    Raises:
        UserError: naming the option.
    """
    if batch_size < ranks:
        raise UserError(
            f"`data.batch_size`={batch_size} is smaller than the number of ranks, {ranks}. Raise it, or lower "
            "`trainer.devices` or `trainer.num_nodes`."
        )


def check_rows(options: Mapping[str, Any], step_size: int, longest: int) -> None:
    """Refuse segments that no episode has room for, and rows that memory has none for.

    Args:
        options: of the data module.
        step_size: numbers that are kept of a step.
        longest: steps of the longest episode.

    Raises:
        UserError: naming the options.
    """
    context, segments, segment = (options[name] for name in ("context_steps", "segments", "segment_steps"))
    if segment > longest:
        raise UserError(
            f"`data.segment_steps`={segment}: no episode has more than {longest} steps. Lower it, or collect longer "
            "episodes."
        )
    window = options["attention"] == "window"
    steps = segments * segment + (min(options["chunk_steps"] or 2 * context, longest) if window else context)
    # In one block, a token's scores: of all tokens, or of the prompt's and two windows'; three tokens a step.
    scores = (3 * steps) * 3 * min(steps, segments * segment + 2 * context if window else steps)
    for name, numbers in (("batch_size", steps * step_size + scores), ("validation_windows", steps * step_size)):
        check_memory(
            f"`data.{name}`={options[name]} rows of `data.context_steps`={context} and prompts of "
            f"`data.segments`={segments} times `data.segment_steps`={segment} steps",
            4.0 * options[name] * numbers,
            "Lower the largest of them.",
        )


def check_segments(episodes: Episodes, members: np.ndarray, steps: int, tasks: Sequence[Task]) -> None:
    """Refuse tasks that have not two training episodes with a segment: a prompt is never of the window's own episode.

    Args:
        episodes: of all training tasks.
        members: numbers of those to train on.
        steps: `H`.
        tasks: the training tasks.

    Raises:
        UserError: naming the task.
    """
    enough = np.bincount(episodes.task[members], episodes.lengths_of(members) >= steps, len(tasks))
    if (enough < 2).any():
        worst = int(enough.argmin())
        Segments(episodes.of_task(worst), steps, tasks[worst].id)  # raises, where none is long enough
        raise UserError(
            f"{tasks[worst].id} has fewer than 2 training episodes of `data.segment_steps`={steps} steps. Lower it or "
            "collect longer episodes."
        )


def chosen_tasks(names: Sequence[str] | None, held_out: list[str]) -> list[str]:
    """Ids of the held-out tasks to tune: all where `names` is None.

    Raises:
        UserError: if `names` is empty or has others in it.
    """
    if names is None:
        return held_out
    if unknown := [name for name in names if name not in held_out]:
        raise UserError(
            f"`tuning.tasks`: {unknown[0]} is not a held-out task. They are: "
            f"{', '.join(held_out)}.{suggestion(unknown[0], held_out)}"
        )
    if not names:
        raise UserError(f"`tuning.tasks`=[] names no task. Leave it out for all, or choose of: {', '.join(held_out)}.")
    return [name for name in held_out if name in names]
