"""Gymnasium's specifications: what of them makes two environments alike, and how long their episodes last."""

import copy
import dataclasses
import importlib
import json
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec, WrapperSpec, load_env_creator

TIME_LIMIT = "TimeLimit"
MEMORIES = ("NormalizeObservation", "NormalizeReward")  # wrappers whose statistics no specification holds

# Specifications that came with tasks from another process, which had imported the package that registers them.
_travelled: dict[str, EnvSpec] = {}


def find(env_id: str) -> EnvSpec:
    """The specification of a registered id, which may name the module that registers it: `my_package:my/Door-v0`.

    Raises:
        gymnasium.error.Error: if there is none. ImportError and others: whatever the package raises.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    if name not in gym.registry and name in _travelled:
        with_package = _travelled[name]
        load_env_creator(str(with_package.entry_point))  # imports the package, which may register it
        return gym.registry.get(name) or with_package
    return gym.registry.get(name) or gym.spec(name)


def to_travel(env_id: str) -> EnvSpec | None:
    """What another process needs to know of an id that it may not have registered; None where it must know itself."""
    spec = gym.registry.get(env_id.rpartition(":")[2]) or _travelled.get(env_id)
    return spec if spec is not None and isinstance(spec.entry_point, str) else None


def arrived(spec: EnvSpec) -> None:
    """Remember a specification from another process."""
    _travelled[spec.id] = spec


def limits(spec: EnvSpec) -> list[int]:
    """Every limit of steps that a specification sets, its own and its wrappers'."""
    own = [spec.max_episode_steps] if spec.max_episode_steps is not None else []
    wrappers = [(w.kwargs or {}).get("max_episode_steps") for w in spec.additional_wrappers if w.name == TIME_LIMIT]
    return [int(steps) for steps in (*own, *wrappers) if steps is not None]


def lasting(spec: EnvSpec, horizon: int) -> EnvSpec:
    """The specification with limits that are no shorter than `horizon` steps."""

    def raised(wrapper: WrapperSpec) -> WrapperSpec:
        if wrapper.name != TIME_LIMIT or wrapper.kwargs is None:
            return wrapper
        return dataclasses.replace(
            wrapper, kwargs={"max_episode_steps": max(horizon, wrapper.kwargs["max_episode_steps"])}
        )

    changed = copy.copy(spec)
    if spec.max_episode_steps is not None:
        changed.max_episode_steps = max(horizon, spec.max_episode_steps)
    changed.additional_wrappers = tuple(raised(wrapper) for wrapper in spec.additional_wrappers)
    return changed


def identity(spec: EnvSpec) -> dict[str, Any]:
    """What makes an environment the one it is: all but how it is drawn and what it would be worth to solve it."""
    known = json.loads(spec.to_json())
    known["kwargs"] = {key: value for key, value in known["kwargs"].items() if key != "render_mode"}
    for of_no_account in (
        "reward_threshold",
        "nondeterministic",
        "disable_env_checker",
        "order_enforce",
        "vector_entry_point",
    ):
        known.pop(of_no_account, None)
    return known


def memory_in(env: gym.Env) -> str | None:
    """The wrapper of an environment that goes by what earlier episodes were like; None: it has no known one."""
    at: Any = env
    while isinstance(at, gym.Wrapper):
        if type(at).__name__ in MEMORIES:
            return type(at).__name__
        at = at.env
    return None


def as_text(options: Any) -> str | None:
    """Options of a reset as JSON, arrays included; None for none.

    >>> as_text({"goal": np.int64(2)}), from_text(as_text({"at": np.array([1.0, 2.0])}))["at"].tolist()
    ('{"goal": 2}', [1.0, 2.0])
    """

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return {"array": value.tolist(), "dtype": str(value.dtype)}
        return (
            value.item()
            if isinstance(value, np.generic)
            else value.decode()
            if isinstance(value, bytes)
            else repr(value)
        )

    return json.dumps(options, default=plain, sort_keys=True) if options else None


def from_text(text: str | None) -> dict[str, Any] | None:
    """What `as_text` was given."""

    def whole(known: dict[str, Any]) -> Any:
        return np.array(known["array"], known["dtype"]) if set(known) == {"array", "dtype"} else known

    return json.loads(text, object_hook=whole) if text else None


class ResetOptions(gym.Wrapper, gym.utils.RecordConstructorArgs):
    """Begins each episode with the options that recorded episodes began with: those that its seed falls to.

    Args:
        env: to be reset.
        options: of recorded episodes, each once, as `as_text` gives them.
    """

    def __init__(self, env: gym.Env, options: list[str | None]):
        gym.utils.RecordConstructorArgs.__init__(self, options=options)
        gym.Wrapper.__init__(self, env)
        self.options, self.episodes = options, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; options that are given go first."""
        number = self.episodes if seed is None else seed
        self.episodes += 1
        return self.env.reset(seed=seed, options=options or from_text(self.options[number % len(self.options)]))


def beginning_with(spec: EnvSpec, options: tuple[str | None, ...]) -> EnvSpec:
    """The specification with a wrapper that plays `options`."""
    changed = copy.copy(spec)
    wrapper = WrapperSpec("ResetOptions", f"{__name__}:ResetOptions", {"options": list(options)})
    changed.additional_wrappers = (*spec.additional_wrappers, wrapper)
    return changed
