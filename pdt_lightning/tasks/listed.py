"""A user's own Minari datasets as tasks, listed in the YAML, without code."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import minari
from gymnasium.envs.registration import EnvSpec

from pdt_lightning.core import cache
from pdt_lightning.core.errors import UserError, check_range, suggestion
from pdt_lightning.tasks.base import Task, TaskFamily

OPTIONS = ("id", "training_data", "prompt_data", "horizon", "target_return", "return_scale")


class ListedFamily(TaskFamily):
    """Tasks given by their datasets; the environment is the one that each dataset names.

    Each entry is a mapping: `id`; `training_data` (for training tasks) and `prompt_data` (for tasks that are tuned), each a list
    of Minari ids; and, where the demonstrations should not decide them, `horizon` (longest episode), `target_return` (highest
    demonstrated return) and `return_scale` (the target's size, at least 1).

    Args:
        training: tasks to train on.
        held_out: tasks whose prompts are tuned.
    """

    def __init__(self, training: Sequence[Mapping[str, Any]], held_out: Sequence[Mapping[str, Any]]):
        if not training:
            raise UserError("`data.family_options.training` is empty: list at least one task to train on.")
        self._longest_of_all = 0
        self._environments: dict[str, tuple[str, EnvSpec]] = {}  # by name without version, a dataset and what it names
        self.training_tasks = tuple(self._task(entry, "training", "training_data") for entry in training)
        self.heldout_tasks = tuple(self._task(entry, "held_out", "prompt_data") for entry in held_out)
        for group, tasks in (("training", self.training_tasks), ("held_out", self.heldout_tasks)):
            ids = [task.id for task in tasks]
            if twice := [name for name in ids if ids.count(name) > 1]:
                raise UserError(f"`data.family_options.{group}`: two tasks have the id {twice[0]}. Give each its own.")

    @property
    def max_timesteps(self) -> int:
        """Steps of the longest episode of any task, demonstrated or played."""
        return max(super().max_timesteps, self._longest_of_all)

    def _task(self, entry: Mapping[str, Any], group: str, needed: str) -> Task:
        option = f"`data.family_options.{group}`"
        if wrong := sorted(set(entry) - set(OPTIONS)):
            raise UserError(
                f"{option}: {wrong[0]} is not known. A task takes: {', '.join(OPTIONS)}.{suggestion(wrong[0], OPTIONS)}"
            )
        if missing := [key for key in ("id", needed) if not entry.get(key)]:
            raise UserError(f"{option}: a task lacks {missing[0]}. It is {dict(entry)}.")
        for key in ("training_data", "prompt_data"):
            if not all(isinstance(name, str) for name in entry.get(key) or ()) or isinstance(entry.get(key), str):
                raise UserError(f"{option}: {key} of {entry['id']} is {entry[key]!r}. Give a list of Minari ids: [{entry[key]}].")
        numbers = {key: entry[key] for key in ("horizon", "target_return", "return_scale") if entry.get(key) is not None}
        for key, value in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or (key == "horizon" and value != int(value)):
                raise UserError(
                    f"{option}: {key}={value!r} of {entry['id']}: give {'a whole' if key == 'horizon' else 'a'} number."
                )
        check_range(f"{option}: horizon of {entry['id']}", numbers.get("horizon", 1), 1, 1_000_000)
        check_range(f"{option}: target_return of {entry['id']}", numbers.get("target_return", 0))
        check_range(f"{option}: return_scale of {entry['id']}", numbers.get("return_scale", 1), 0, above=True)
        training_data, prompt_data = (tuple(entry.get(key) or ()) for key in ("training_data", "prompt_data"))
        ids = [*training_data, *prompt_data]
        self._longest_of_all = max(self._longest_of_all, *(facts(name)["longest"] for name in ids))
        environment = env_spec(ids[0])
        for name in ids:
            self._check_environment(name, env_spec(name), ids[0], environment)
        return Task(
            id=str(entry["id"]),
            env_id=environment,
            horizon=int(numbers["horizon"]) if "horizon" in numbers else None,  # the data decide, as they do the other two
            target_return=numbers.get("target_return"),
            return_scale=numbers.get("return_scale"),
            training_data=training_data,
            prompt_data=prompt_data,
        )

    def _check_environment(self, name: str, recorded: EnvSpec, first: str, expected: EnvSpec) -> None:
        """Datasets of one task share the environment and its arguments; those of all tasks share versions."""
        if (recorded.id, recorded.kwargs) != (expected.id, expected.kwargs):
            raise UserError(
                f"{name} was recorded in {recorded.id} {recorded.kwargs}, but {first} of the same task in {expected.id} "
                f"{expected.kwargs}. List datasets of one environment, or make two tasks of them."
            )
        other, theirs = self._environments.setdefault(f"{recorded.namespace}/{recorded.name}", (name, recorded))
        if theirs.version != recorded.version:
            raise UserError(
                f"{name} was recorded in {recorded.id}, but {other} in {theirs.id}. Use datasets of one version of an environment."
            )


def facts(dataset_id: str) -> dict[str, Any]:
    """Environment and longest episode of a dataset, kept once found: to ask every episode takes longer than all the rest.

    Raises:
        NotFoundError: if it is not on this machine.
        UserError: if it is empty, or cannot be read.
    """

    def find(folder: Path) -> None:
        try:
            storage = minari.load_dataset(dataset_id).storage
            numbers = range(storage.total_episodes)
            lengths = [int(known["total_steps"]) for known in storage.get_episode_metadata(numbers)] if numbers else []
        except Exception as error:  # whatever Minari and HDF5 raise, it is on account of what is there
            raise cache.unreadable(dataset_id, error) from error
        if not any(lengths):
            raise cache.empty(dataset_id)
        found = {"env_spec": storage.metadata.get("env_spec"), "longest": max(lengths)}
        (folder / "facts.json").write_text(json.dumps(found))

    return json.loads((cache.keep("facts", cache.mark(dataset_id), find) / "facts.json").read_text())


def env_spec(dataset_id: str) -> EnvSpec:
    """The environment that a dataset names.

    Raises:
        UserError: if it names none.
    """
    text = facts(dataset_id)["env_spec"]
    if not text:
        raise UserError(
            f"Minari dataset {dataset_id} names no environment, so its task cannot be rolled out. Record it again with its "
            "environment."
        )
    return EnvSpec.from_json(str(text))
