"""Task: an environment, how long an episode lasts, what to ask for, and the demonstrations known of it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator

from pdt_lightning.core.errors import UserError
from pdt_lightning.core.extras import extras_for
from pdt_lightning.tasks import actions, spaces, specifications


@dataclass(frozen=True)
class Task:
    """One task: an environment, how long an episode lasts, what to ask for, and the demonstrations known of it.

    Args:
        id: unique name, `family/number`; files are named by it.
        env_id: Gymnasium id, registered under a string entry point so that Minari can recover the environment, with or
            without the module that registers it (`my_package:my/Door-v0`); or a specification.
        env_kwargs: keyword arguments for the environment.
        training_data: Minari dataset ids to train on.
        prompt_data: Minari dataset ids that prompts are taken from, apart from what is trained on.
        horizon: longest episode, in steps; None: the longest demonstration. A limit of the environment's that is
            shorter is raised.
        target_return: return to ask for, in the reward's unit; None: the highest demonstrated return.
        return_scale: divides returns and rewards before the model sees them; None: the target's size, at least 1.
        plane: two coordinates of the state to draw demonstrations by, each with its name; empty: they are not drawn so.
        reset_options: that recorded episodes began with, as `specifications.as_text` gives them; rollouts begin with
            them too.
        requirements: packages that its datasets ask for, for messages.
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
    reset_options: tuple[str | None, ...] = ()
    requirements: tuple[str, ...] = ()

    def spec(self) -> EnvSpec:
        """The environment's specification, with the task's arguments and reset options.

        Its limits are no shorter than the horizon.
        """
        spec = copy.deepcopy(specifications.find(self.env_id) if isinstance(self.env_id, str) else self.env_id)
        spec.kwargs = {**spec.kwargs, **self.env_kwargs}
        spec.disable_env_checker = True
        if self.horizon:
            spec = specifications.lasting(spec, self.horizon)
        return specifications.beginning_with(spec, self.reset_options) if self.reset_options else spec

    def make_env(self, **kwargs: Any) -> gym.Env:
        """The task's environment, with flat observations and actions; see `bare_env`."""
        return actions.flat_actions(spaces.flat_observations(self.bare_env(**kwargs)))

    def bare_env(self, **kwargs: Any) -> gym.Env:
        """The task's environment with its own spaces; `kwargs` go to Gymnasium (such as `render_mode`).

        Raises:
            UserError: whatever the environment's code raises, and where its spaces are not supported.
        """
        try:
            with extras_for(f"{self.id}: its environment {self.env_name}"):
                spec = self.spec()
                if isinstance(spec.entry_point, str):
                    _load_entry_point(spec.entry_point)
                env = gym.make(spec, **kwargs)
        except UserError:
            raise
        except (ImportError, gym.error.Error) as error:
            raise self.error(
                f"is not installed here: {error}. Install the package that it comes from, in a version that has it."
            ) from error
        except Exception as error:  # it is foreign code, which may raise anything
            raise self.error(
                f"cannot be built: {type(error).__name__}: {error}. Build it here with gymnasium.make first: bring "
                "what it needs, install the version that it was recorded with, or record anew in an environment that "
                "can be built again."
            ) from error
        try:
            own = (("observations", env.observation_space, spaces), ("actions", env.action_space, actions))
        except Exception as error:  # such as an environment without spaces
            raise self.error(
                f"has no spaces: {type(error).__name__}: {error}. Give it observation_space and action_space."
            ) from error
        for kind, space, room in own:
            if reason := room.unsupported(space):
                raise self.error(f"has {kind} of {space}; {reason}.")
        return env

    def error(self, what: str) -> UserError:
        """The error that says what is the matter with the task's environment.

        It names task, environment and dataset.
        """
        listed = isinstance(self.env_id, EnvSpec) and (*self.training_data, *self.prompt_data)
        dataset = f" (of Minari dataset {listed[0]})" if listed else ""
        needs = f" The dataset asks for {', '.join(self.requirements)}." if self.requirements else ""
        return UserError(f"{self.id}: its environment {self.env_name}{dataset} {what}{needs}")

    def facts(self) -> dict[str, Any]:
        """What has to be known to act in the task without its demonstrations, as JSON can write it.

        The environment is built once, for its spaces.

        Returns:
            `task` (its id), `horizon`, `target_return`, `return_scale`; `environment`, a specification in JSON that
            ends episodes at the horizon, None where Gymnasium cannot write it down; `action_low` and `action_high`,
            `(A,)`, and `action_dtype`; `observation_space` and `action_space`, as Minari writes them, None for a Box of
            one dimension.
        """
        spec = self.spec()
        if self.horizon and (spec.max_episode_steps is None or spec.max_episode_steps > self.horizon):
            spec.max_episode_steps = self.horizon
        try:
            environment = spec.to_json()
        except (TypeError, ValueError):  # a callable, or an argument that JSON does not know
            environment = None
        env = self.bare_env()
        observation, action, box = env.observation_space, env.action_space, actions.flat_space(env.action_space)
        env.close()
        return {
            "task": self.id,
            "environment": environment,
            "horizon": self.horizon,
            "target_return": self.target_return,
            "return_scale": self.return_scale,
            "action_low": box.low.tolist(),
            "action_high": box.high.tolist(),
            "action_dtype": str(box.dtype),
            "observation_space": None if spaces.is_flat(observation) else spaces.to_text(observation),
            "action_space": None if spaces.is_flat(action) else spaces.to_text(action),
        }

    @property
    def env_name(self) -> str:
        """Gymnasium's id of the environment, with its version."""
        return self.env_id.rpartition(":")[2] if isinstance(self.env_id, str) else self.env_id.id

    def __getstate__(self) -> dict[str, Any]:
        """With the specification that another process may not have registered."""
        travelling = specifications.to_travel(self.env_id) if isinstance(self.env_id, str) else None
        return {**vars(self), "_spec": travelling}

    def __setstate__(self, state: dict[str, Any]) -> None:
        spec = state.pop("_spec")
        if spec is not None:
            specifications.arrived(spec)
        vars(self).update(state)


def _load_entry_point(entry_point: str) -> None:
    try:
        load_env_creator(entry_point)
    except AttributeError as error:  # the package is there, in a version without this environment
        raise ImportError(str(error)) from error
