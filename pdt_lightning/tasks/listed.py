"""A user's own Minari datasets as tasks, listed in the YAML, without code."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import minari
from gymnasium.envs.registration import EnvSpec

from pdt_lightning import kept
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
            raise ValueError("--data.family_options.training is empty: list at least one task to train on.")
        self._longest_of_all = 0
        self.training_tasks = tuple(self._task(entry, "training", "training_data") for entry in training)
        self.heldout_tasks = tuple(self._task(entry, "held_out", "prompt_data") for entry in held_out)

    @property
    def max_timesteps(self) -> int:
        """Steps of the longest episode of any task, demonstrated or played."""
        return max(super().max_timesteps, self._longest_of_all)

    def _task(self, entry: Mapping[str, Any], group: str, needed: str) -> Task:
        option = f"--data.family_options.{group}"
        if wrong := sorted(set(entry) - set(OPTIONS)):
            raise ValueError(f"{option}: {wrong[0]} is not known. A task takes: {', '.join(OPTIONS)}.")
        if missing := [key for key in ("id", needed) if not entry.get(key)]:
            raise ValueError(f"{option}: a task lacks {missing[0]}. It is {dict(entry)}.")
        training_data, prompt_data = (tuple(entry.get(key) or ()) for key in ("training_data", "prompt_data"))
        ids = [*training_data, *prompt_data]
        longest = max(facts(name)["longest"] for name in ids)
        self._longest_of_all = max(self._longest_of_all, longest)
        horizon = entry.get("horizon")
        return Task(
            id=str(entry["id"]),
            env_id=env_spec(ids[0]),
            horizon=int(horizon) if horizon else longest,
            target_return=entry.get("target_return"),
            return_scale=entry.get("return_scale"),
            training_data=training_data,
            prompt_data=prompt_data,
        )


def facts(dataset_id: str) -> dict[str, Any]:
    """Environment and longest episode of a dataset, kept once found: to ask every episode takes longer than all the rest.

    Raises:
        FileNotFoundError: if it is not on this machine.
    """

    def find(folder: Path) -> None:
        storage = minari.load_dataset(dataset_id).storage
        lengths = [int(known["total_steps"]) for known in storage.get_episode_metadata(range(storage.total_episodes))]
        found = {"env_spec": storage.metadata.get("env_spec"), "longest": max(lengths, default=0)}
        (folder / "facts.json").write_text(json.dumps(found))

    return json.loads((kept.keep("facts", kept.mark(dataset_id), find) / "facts.json").read_text())


def env_spec(dataset_id: str) -> EnvSpec:
    """The environment that a dataset names.

    Raises:
        ValueError: if it names none.
    """
    text = facts(dataset_id)["env_spec"]
    if not text:
        raise ValueError(f"Minari dataset {dataset_id} names no environment, so its task cannot be rolled out.")
    return EnvSpec.from_json(str(text))
