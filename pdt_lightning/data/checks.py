"""What can be told of demonstrations and options before anything is collected, read or trained."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym

from pdt_lightning.core import cache
from pdt_lightning.core.errors import UserError, check_memory
from pdt_lightning.data import minari
from pdt_lightning.tasks.base import Recipe, Task


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
            raise UserError(f"{task.id} lists no {kind}: training tasks need training_data, those that are tuned prompt_data.")
        for name in names:
            if minari.exists(name):
                check_environment(name, task)
            elif name not in recipes:
                raise cache.not_found(name)


def check_environments(tasks: Sequence[Task], state_size: int, action_size: int) -> None:
    """Refuse environments that are not installed here, or of other sizes than the first; one of each name is made.

    Raises:
        UserError: naming the task.
    """
    for task in {task.env_name: task for task in tasks}.values():
        env = task.make_env()
        spaces = (("observations", env.observation_space, state_size), ("actions", env.action_space, action_size))
        env.close()
        for kind, space, size in spaces:
            if space.shape != (size,):
                raise UserError(
                    f"{task.id}: {task.env_name} has {kind} of size {space.shape[0]}, but {tasks[0].env_name} of {tasks[0].id} has "
                    f"{size}. All tasks of a run share one size."
                )


def check_environment(dataset_id: str, task: Task) -> None:
    """Refuse a dataset on this machine that was recorded in another environment than its task's, or in another version.

    Raises:
        UserError: naming both.
    """
    recorded = minari.recorded_environment(dataset_id)
    if isinstance(task.env_id, str):
        registered = gym.registry.get(task.env_id)
        asked = {**(registered.kwargs if registered else {}), **task.env_kwargs}
    else:
        asked = task.env_id.kwargs
    # As JSON has them, in which tuples are lists.
    if recorded and (recorded["id"], recorded.get("kwargs")) != (task.env_name, json.loads(json.dumps(asked))):
        raise UserError(
            f"Minari dataset {dataset_id} was recorded in {recorded['id']} {recorded.get('kwargs')}, but the environment of "
            f"{task.id} is {task.env_name} {asked}. Remove {minari.path_of(dataset_id)} to have it collected again, or correct the "
            "id."
        )


def validation_episodes(share: float, task: str, episodes: int) -> int:
    """How many of a task's training episodes validate.

    Raises:
        UserError: if too few are left to train on.
    """
    count = max(1, round(share * episodes))
    if episodes - count < 2:
        raise UserError(
            f"`data.validation_share`={share}: {task} has {episodes} training episodes and {count} of them validate; at least 2 "
            "have to be left, as a prompt never comes from its window's own episode. Lower it, or add episodes."
        )
    return count


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
            f"`data.segment_steps`={segment}: no episode has more than {longest} steps. Lower it, or collect longer episodes."
        )
    window = options["attention"] == "window"
    steps = segments * segment + (min(options["chunk_steps"] or 2 * context, longest) if window else context)
    # In one block, a token's scores: of all tokens, or of the prompt's and two windows'; three tokens a step.
    scores = (3 * steps) * 3 * min(steps, segments * segment + 2 * context if window else steps)
    for name, numbers in (("batch_size", steps * step_size + scores), ("validation_windows", steps * step_size)):
        check_memory(
            f"`data.{name}`={options[name]} rows of `data.context_steps`={context} and prompts of `data.segments`={segments} times "
            f"`data.segment_steps`={segment} steps",
            4.0 * options[name] * numbers,
            "Lower the largest of them.",
        )
