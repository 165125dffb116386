"""Task, TaskFamily and the registry of families, open to other packages through entry points."""

import copy
import hashlib
import inspect
from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.wrappers import FlattenObservation
from jsonargparse import ArgumentError, ArgumentParser

from pdt_lightning.core.errors import UserError, check_range, explained, suggestion
from pdt_lightning.core.extras import extras_for
from pdt_lightning.tasks.identity import identity_of, identity_of_environment

Expert = Callable[[np.ndarray], np.ndarray]  # observation (S,) → noise-free action (A,), for one episode


@dataclass(frozen=True)
class Task:
    """One task: an environment, how long an episode lasts, what to ask for, and the demonstrations known of it.

    Args:
        id: unique name, `family/number`.
        env_id: Gymnasium id, registered under a string entry point so that Minari can recover the environment; or a specification.
        env_kwargs: keyword arguments for the environment.
        training_data: Minari dataset ids to train on.
        prompt_data: Minari dataset ids that prompts are taken from, apart from what is trained on.
        horizon: longest episode, in steps; None: the longest demonstration.
        target_return: return to ask for, in the reward's unit; None: the highest demonstrated return.
        return_scale: divides returns and rewards before the model sees them; None: the target's size, at least 1.
        plane: two coordinates of the state to draw demonstrations by, each with its name; empty: they are not drawn so.
    """

    id: str
    env_id: str | EnvSpec
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    training_data: tuple[str, ...] = ()
    prompt_data: tuple[str, ...] = ()
    horizon: int | None = None
    target_return: float | None = None
    return_scale: float | None = None
    plane: tuple[tuple[int, str], ...] = ()

    def make_env(self, **kwargs: Any) -> gym.Env:
        """The task's environment, with Dict observations flattened; `kwargs` go to Gymnasium (such as `render_mode`)."""
        try:
            with extras_for(f"{self.id}: its environment {self.env_name}"):
                if isinstance(self.env_id, EnvSpec) and isinstance(self.env_id.entry_point, str):
                    _load_entry_point(self.env_id.entry_point)
                env = gym.make(self.env_id, disable_env_checker=True, **{**self.env_kwargs, **kwargs})
        except (ImportError, gym.error.Error) as error:
            raise UserError(
                f"{self.id}: its environment {self.env_name} is not installed here: {error}. Install the package that it comes "
                "from, in a version that has it."
            ) from error
        if isinstance(env.observation_space, gym.spaces.Dict):
            env = FlattenObservation(env)
        for kind, space in (("observations", env.observation_space), ("actions", env.action_space)):
            if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
                raise UserError(f"{self.id}: {self.env_name} has {kind} of {space}; only one-dimensional Box {kind} are supported.")
        return env

    def facts(self) -> dict[str, Any]:
        """What has to be known to act in the task without its demonstrations, as JSON can write it.

        The environment is built once, for its spaces.

        Returns:
            `task` (its id), `horizon`, `target_return`, `return_scale`; `environment`, a specification in JSON that ends episodes
            at the horizon, None where Gymnasium cannot write it down; `action_low` and `action_high`, `(A,)`; `observation`, the
            shape of each part of a Dict observation in its order, None for a Box.
        """
        spec = copy.deepcopy(gym.spec(self.env_id) if isinstance(self.env_id, str) else self.env_id)
        spec.kwargs = {**spec.kwargs, **self.env_kwargs}
        spec.disable_env_checker = True  # as in `make_env`
        if self.horizon and (spec.max_episode_steps is None or spec.max_episode_steps > self.horizon):
            spec.max_episode_steps = self.horizon
        try:
            environment = spec.to_json()
        except (TypeError, ValueError):  # a callable, or an argument that JSON does not know
            environment = None
        env = self.make_env()
        low, high = env.action_space.low, env.action_space.high
        parts = env.env.observation_space.spaces if isinstance(env, FlattenObservation) else None
        env.close()
        return {
            "task": self.id,
            "environment": environment,
            "horizon": self.horizon,
            "target_return": self.target_return,
            "return_scale": self.return_scale,
            "action_low": low.tolist(),
            "action_high": high.tolist(),
            "observation": None if parts is None else {key: space.shape for key, space in parts.items()},
        }

    @property
    def env_name(self) -> str:
        """Gymnasium's id of the environment, with its version."""
        return self.env_id if isinstance(self.env_id, str) else self.env_id.id


def _load_entry_point(entry_point: str) -> None:
    try:
        load_env_creator(entry_point)
    except AttributeError as error:  # the package is there, in a version without this environment
        raise ImportError(str(error)) from error


@dataclass(frozen=True)
class Recipe:
    """How the demonstrations of one dataset are made: everything that decides its content, and so its id.

    Args:
        task: the task to demonstrate.
        role: `training` or `prompt`.
        episodes: how many to collect.
        expert: `env → Expert`, called at the start of each episode; its code and its `mark`, if it has one, say which data are its
            own.
        action_noise: standard deviation of the Gaussian noise added to the executed actions, in the action's unit.
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

        Also with the code of expert and environment, and with the version of the simulator: MuJoCo 3.3.0 and 3.3.7 part after
        100 steps.
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
    recipes: Mapping[str, Recipe] = MappingProxyType({})  # by dataset id; a dataset without a recipe has to exist already

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
    return family(**{option: checked[option] for option in options or {}})


def options_of(name: str, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """All options of a family: those given, and the defaults of the others."""
    defaults = {option: parameter.default for option, parameter in inspect.signature(family_class(name)).parameters.items()}
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
        raise UserError(f"`data.family`={name} cannot be imported from {known[name].value}: {error}. Mend its package.") from error


def check_held_out(given: Sequence[int], count: int) -> None:
    """Refuse a split that leaves nothing to train on or nothing to hold out, or names goals that are not there.

    Raises:
        UserError: naming the option.
    """
    if not given or not set(given) < set(range(count)) or len(set(given)) < len(given):
        raise UserError(
            f"`data.family_options.held_out`={list(given)}: name some, not all, of the goals 0 to {count - 1}, each once."
        )


def demonstrated(
    task: Task, expert: Callable[[gym.Env], Expert], training: tuple[str, int], prompts: tuple[str, int], **settings: Any
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
    # One validates, and a prompt comes from another episode than its window: three to train on, one to take prompts from.
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
                f"`data.family_options.{name}`={value} of `data.family_options.{prompts[0]}`={prompts[1]} rounds to no episode. "
                f"Raise one of them, or set {name} to 0."
            )
    ids = {role: (recipe.dataset_id,) for role, recipe in recipes.items()}
    return replace(task, training_data=ids["training"], prompt_data=ids["prompt"]), {
        recipe.dataset_id: recipe for recipe in recipes.values()
    }
