"""TaskFamily, recipes for demonstrations, and the registry of families, open to other packages through entry points."""

import hashlib
import inspect
import re
from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

import gymnasium as gym
import numpy as np
from jsonargparse import ArgumentError, ArgumentParser

from pdt_lightning.core.errors import UserError, check_range, explained, suggestion
from pdt_lightning.core.extras import extras_for
from pdt_lightning.tasks.identity import identity_of, identity_of_environment
from pdt_lightning.tasks.task import Task

# Of one episode: observation (S,) → noise-free action as the environment takes it. (Its text is in datasets' names.)
Expert = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Recipe:
    """How the demonstrations of one dataset are made: everything that decides its content, and so its id.

    Args:
        task: the task to demonstrate.
        role: `training` or `prompt`.
        episodes: how many to collect.
        expert: `env → Expert`, called at the start of each episode; its code and its `mark`, if it has one, say which
            data are its own.
        action_noise: standard deviation of the Gaussian noise added to the executed actions, in the action's unit; of
            choices on the one-hot vector, whose largest number is then chosen.
        expert_share: share of the episodes that the expert makes; the others take uniformly random actions.
        seed: of collection.
        medium: a weaker expert.
        medium_share: share of the episodes that it makes, after the expert's.
    """

    task: Task
    role: str
    episodes: int
    expert: Callable[[gym.Env], Expert]
    action_noise: float
    expert_share: float = 1.0
    seed: int = 0
    medium: Callable[[gym.Env], Expert] | None = None
    medium_share: float = 0.0

    @property
    def counts(self) -> tuple[int, int]:
        """Episodes that the expert makes, and then the weaker one."""
        experts = round(self.expert_share * self.episodes)
        skilled = max(experts, round((self.expert_share + self.medium_share) * self.episodes))
        return experts, skilled - experts

    @property
    def dataset_id(self) -> str:
        """A Minari id that changes with anything that would change the data, so that stale data is never reused.

        Also with the code of expert and environment, and with the version of the simulator: MuJoCo 3.3.0 and 3.3.7 part
        after 100 steps.
        """
        content = (
            self.task.env_id,
            sorted(self.task.env_kwargs.items()),
            self.task.horizon,
            self.episodes,
            identity_of(self.expert),
            identity_of_environment(self.task.env_id),
            self.action_noise,
            self.expert_share,
            self.seed,
            *((identity_of(self.medium), self.medium_share) if self.medium and self.medium_share else ()),
        )
        mark = hashlib.blake2b(repr(content).encode(), digest_size=5).hexdigest()
        return f"pdt-lightning/{self.task.id}-{self.role}-{mark}-v0"


class TaskFamily(ABC):
    """Tasks of one kind: those to train on, those held out, and the recipes for the demonstrations of both.

    A family's `__init__` takes plain values only (numbers, strings, lists, dicts), since they are kept in checkpoints.
    """

    training_tasks: tuple[Task, ...]
    heldout_tasks: tuple[Task, ...]
    # By dataset id; a dataset without a recipe has to exist already.
    recipes: Mapping[str, Recipe] = MappingProxyType({})

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Training tasks, then held-out ones (a task that is both comes once)."""
        return tuple({task.id: task for task in (*self.training_tasks, *self.heldout_tasks)}.values())

    @property
    def max_timesteps(self) -> int:
        """Steps of the longest episode of any task, demonstrated or played."""
        return max(task.horizon or 0 for task in self.tasks)

    def spaces(self) -> tuple[gym.spaces.Box, gym.spaces.Box]:
        """Observation and action space, read off the first task's environment."""
        env = self.tasks[0].make_env()
        try:
            return env.observation_space, env.action_space
        finally:
            env.close()


def families() -> dict[str, EntryPoint]:
    """All families by name, not imported yet: ours and those of installed packages (group `pdt_lightning.families`)."""
    return {entry.name: entry for entry in sorted(entry_points(group="pdt_lightning.families"), key=lambda e: e.name)}


def make_family(name: str, options: Mapping[str, Any] | None = None) -> TaskFamily:
    """The family called `name`, built with `options`; errors name the option and what may stand there."""
    family = family_class(name)
    known = inspect.signature(family).parameters
    if wrong := sorted(set(options or ()) - set(known)):
        raise UserError(
            f"`data.family_options.{wrong[0]}` is not an option of family {name}. It takes: {', '.join(known)}."
            f"{suggestion(wrong[0], known)}"
        )
    # They come as YAML has them, so that their types are checked here, like those of all other options.
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(family, fail_untyped=False)
    try:
        checked = parser.parse_object(dict(options or {}))
    except ArgumentError as error:
        raise UserError(explained(str(error), "`data.family_options.{}`".format)) from error
    made = family(**{option: checked[option] for option in options or {}})
    for group, tasks in (("training", made.training_tasks), ("held_out", made.heldout_tasks)):
        check_ids(
            [task.id for task in tasks],
            f"`data.family_options.{group}`" if name == "minari" else f"`data.family`={name}",
        )
    return made


def check_ids(ids: Sequence[str], option: str) -> None:
    """Refuse ids of tasks that are no relative paths, since files are named by them, or that two tasks share.

    Raises:
        UserError: naming the id.

    >>> check_ids(["a", "b//c"], "`family`=d")
    Traceback (most recent call last):
    pdt_lightning.core.errors.UserError: `family`=d: b//c cannot be a task's id, since files are named by it. Write b/c.
    """
    for name in ids:
        parts = [part.strip() for part in re.split(r"[/\\]", name) if part.strip() not in ("", ".", "..")]
        plain = re.sub(r"[\x00-\x1f]", "", "/".join(parts))
        if name != plain or any(len(part.encode()) > 200 for part in parts):
            raise UserError(
                f"{option}: {name} cannot be a task's id, since files are named by it. Write {plain[:200] or 'a name'}."
            )
    if twice := [name for name in ids if ids.count(name) > 1]:
        raise UserError(f"{option}: two tasks have the id {twice[0]}. Give each its own.")


def options_of(name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """All options of a family: those given, and the defaults of the others."""
    defaults = {
        option: parameter.default for option, parameter in inspect.signature(family_class(name)).parameters.items()
    }
    return {**defaults, **(given or {})}


def family_class(name: str) -> type[TaskFamily]:
    """The class of the family called `name`, imported.

    Raises:
        UserError: if there is none, or it cannot be imported, for want of an extra for example.
    """
    known = families()
    if name not in known:
        raise UserError(f"`data.family`={name} is unknown. Choose one of: {', '.join(known)}.{suggestion(name, known)}")
    try:
        with extras_for(f"`data.family`={name}"):
            return known[name].load()
    except ImportError as error:  # of another package
        raise UserError(
            f"`data.family`={name} cannot be imported from {known[name].value}: {error}. Mend its package."
        ) from error


def check_held_out(given: Sequence[int], count: int) -> None:
    """Refuse a split that leaves nothing to train on or nothing to hold out, or names goals that are not there.

    Raises:
        UserError: naming the option.
    """
    if not given or not set(given) < set(range(count)) or len(set(given)) < len(given):
        raise UserError(
            f"`data.family_options.held_out`={list(given)}: name some, not all, of the goals 0 to {count - 1}, each "
            "once."
        )


def demonstrated(
    task: Task,
    expert: Callable[[gym.Env], Expert],
    training: tuple[str, int],
    prompts: tuple[str, int],
    **settings: Any,
) -> tuple[Task, dict[str, Recipe]]:
    """`task` with the ids of its demonstrations filled in, and their recipes.

    Args:
        task: without demonstrations.
        expert: see `Recipe`.
        training: name of the family's option, and the number of episodes to train on.
        prompts: the same of the candidates for prompts.
        **settings: of both recipes; the shares apply to the candidates alone.

    Raises:
        UserError: on counts, noise or shares that make no sense, naming the option.
    """
    share = settings.pop("expert_share", 1.0)
    mixed = {"expert_share": share, "medium_share": settings.pop("medium_share", 0.0)}
    noise = settings["action_noise"]
    # One validates, and a prompt comes from another episode than its window: three to train on, one to take prompts
    # from.
    for (name, value), least in ((training, 3), (prompts, 1)):
        check_range(f"`data.family_options.{name}`", value, least, 1_000_000)
    check_range("`data.family_options.expert_share`", share, 0, 1)
    check_range("`data.family_options.action_noise`", noise, 0)
    recipes = {
        "training": Recipe(task, "training", training[1], expert, **settings),
        "prompt": Recipe(task, "prompt", prompts[1], expert, **mixed, **settings),
    }
    for (name, value), count in zip(mixed.items(), recipes["prompt"].counts, strict=True):
        if value > 0 and not count:
            raise UserError(
                f"`data.family_options.{name}`={value} of `data.family_options.{prompts[0]}`={prompts[1]} rounds to no "
                f"episode. Raise one of them, or set {name} to 0."
            )
    ids = {role: (recipe.dataset_id,) for role, recipe in recipes.items()}
    return replace(task, training_data=ids["training"], prompt_data=ids["prompt"]), {
        recipe.dataset_id: recipe for recipe in recipes.values()
    }
