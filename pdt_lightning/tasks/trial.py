"""Foreign code, tried before it is relied on.

An environment is reset, stepped and repeated before anything is trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from pdt_lightning.core.errors import UserError
from pdt_lightning.core.seeding import generator
from pdt_lightning.tasks import specifications
from pdt_lightning.tasks.actions import as_action
from pdt_lightning.tasks.success import KEYS
from pdt_lightning.tasks.task import Task

STEPS = 5
SEED = 7


@dataclass(frozen=True)
class Played:
    """The beginning of an episode.

    Args:
        observations: `(T + 1, S)` float64.
        rewards: `(T,)` float64.
        truncated: whether the environment cut the episode short in its last step.
        shared: whether an observation is the array of the one before it, written over.
    """

    observations: np.ndarray
    rewards: np.ndarray
    truncated: bool
    shared: bool


def try_out(env: gym.Env, task: Task, actions: np.ndarray | None = None) -> Played:
    """Play the beginning of an episode twice.

    Args:
        env: of `task`, from `Task.make_env`.
        task: for messages.
        actions: `(T, A)` to play, such as the first that were recorded; None: a few random ones.

    Returns:
        The first one.

    Raises:
        UserError: as `play` does; and where an episode depends on more than its seed and its actions.
    """
    if wrapper := specifications.memory_in(env):
        raise task.error(
            f"is wrapped in {wrapper}, whose running statistics no dataset keeps, so that rollouts would see other "
            "numbers than were recorded. Record without it; states are normalised anyway."
        )
    actions = random_actions(env, STEPS, "trial") if actions is None else actions
    first, again = play(env, task, actions), play(env, task, actions)
    spec = env.unwrapped.spec  # of a wrapper it would be put together
    random = spec is not None and spec.nondeterministic  # is registered as one that no seed repeats
    for name in () if random else ("observations", "rewards"):
        if not np.array_equal(getattr(first, name), getattr(again, name)):
            raise task.error(
                f"does not repeat itself: two episodes with reset(seed={SEED}) and the same actions have other {name}, "
                "so that results would depend on what was played before. Draw what is random from self.np_random, and "
                "let reset forget all else."
            )
    return first


def random_actions(env: gym.Env, steps: int, *key: str) -> np.ndarray:
    """`(steps, A)` of an environment's box: uniform, or normal where it is not bounded."""
    space: Any = env.action_space
    rng = generator(SEED, *key)
    low, high = (np.asarray(bound, np.float64) for bound in (space.low, space.high))
    bounded = bool(np.isfinite([low, high]).all())
    return rng.uniform(low, high, (steps, *space.shape)) if bounded else rng.normal(size=(steps, *space.shape))


def play(env: gym.Env, task: Task, actions: np.ndarray) -> Played:
    """Play an episode with given actions, as far as it goes.

    Args:
        env: of `task`, from `Task.make_env`.
        task: for messages.
        actions: `(T, A)`.

    Raises:
        UserError: naming task and environment: on whatever they raise; on observations or rewards that are not finite
            or not of their space; and on success that is no number.
    """
    action, truncated, shared = None, False, False
    observations, rewards = list[np.ndarray](), list[float]()
    try:
        before, info = env.reset(seed=SEED)
        observations.append(np.array(before, np.float64))
        check_success(info)
        for vector in actions:
            action = as_action(vector, env.action_space)
            seen, reward, terminated, truncated, info = env.step(action)
            check_success(info)
            shared |= np.shares_memory(seen, before)
            observations.append(np.array(seen, np.float64))
            rewards.append(float(reward))
            before = seen
            if terminated or truncated:
                break
    except UserError as error:
        raise task.error(str(error)) from error
    except Exception as error:  # it is foreign code, which may raise anything
        doing = f"reset(seed={SEED})" if action is None else f"step({action!r})"
        raise task.error(
            f"raises {type(error).__name__} in {doing}: {error}. Mend it, or install the version that it was recorded "
            "with."
        ) from error
    size = env.observation_space.shape
    if wrong := [values.shape for values in observations if values.shape != size]:
        raise task.error(f"has an observation of shape {wrong[0]}, not of its space's, {size}. Mend it.")
    if not all(np.isfinite(values).all() for values in (*observations, np.array(rewards))):
        raise task.error(
            f"has an observation or a reward that is not finite within its first {len(rewards)} steps. Mend it."
        )
    return Played(np.array(observations), np.array(rewards), bool(truncated), bool(shared))


def check_success(info: Mapping[str, Any], steps: int | None = None) -> None:
    """Refuse success that is no single number; one that is not known, None or NaN, is no success.

    Args:
        info: of one step; with `steps`, of a recorded episode, an entry a step.
        steps: of the episode, to which the info of the reset may come.

    Raises:
        UserError: naming what it is.
    """
    for key in KEYS:
        value: Any = info.get(key)
        if value is None:
            continue
        if isinstance(value, Mapping):
            what = f"a mapping of {', '.join(map(str, value))}"
        elif np.asarray(value).dtype.kind in "US":
            what = f"text, such as {np.ravel(value)[0].item()!r},"
        elif np.size(value) > (1 if steps is None else steps + 1):
            what = f"an array of shape {np.shape(value)}"
        else:
            continue
        raise UserError(
            f"has {what} for info[{key!r}], where a number says whether a step succeeded. Wrap the environment so that "
            "it is one number, or leave it out, and record anew."
        )
