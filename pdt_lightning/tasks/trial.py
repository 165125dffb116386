"""Foreign code, tried before it is relied on.

An environment is reset, stepped and repeated before anything is trained.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from pdt_lightning.core.errors import UserError
from pdt_lightning.core.seeding import generator
from pdt_lightning.tasks import spaces, specifications
from pdt_lightning.tasks.success import KEYS
from pdt_lightning.tasks.task import Task

STEPS = 5
SEED = 7


def try_out(env: gym.Env, task: Task, actions: Sequence[Sequence[float]] = ()) -> None:
    """Play the beginning of an episode twice.

    Args:
        env: of `task`, from `Task.make_env`.
        task: for messages.
        actions: to play, such as the first that were recorded; none: random ones.

    Raises:
        UserError: naming task and environment: on whatever they raise; on observations or rewards that are not finite
            or not of their space; on success that is no number; and where an episode depends on more than its seed and
            its actions.
    """
    if wrapper := specifications.memory_in(env):
        raise task.error(
            f"is wrapped in {wrapper}, whose running statistics no dataset keeps, so that rollouts would see other "
            "numbers than were recorded. Record without it; states are normalised anyway."
        )
    first, again = (_beginning(env, task, actions) for _ in range(2))
    if specifications_say_random(env):
        return
    for name, one, two in zip(("observations", "rewards"), first, again, strict=True):
        if not np.array_equal(one, two):
            raise task.error(
                f"does not repeat itself: two episodes with reset(seed={SEED}) and the same actions have other {name}, "
                "so that results would depend on what was played before. Draw what is random from self.np_random, and "
                "let reset forget all else."
            )


def specifications_say_random(env: gym.Env) -> bool:
    """Whether an environment is registered as one that no seed repeats."""
    return bool(env.spec is not None and env.spec.nondeterministic)


def _beginning(env: gym.Env, task: Task, actions: Sequence[Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    space: Any = env.action_space
    rng, played = generator(SEED, "trial"), None
    low, high = (np.asarray(bound, np.float64) for bound in (space.low, space.high))
    bounded = bool(np.isfinite([low, high]).all())
    try:
        seen, info = env.reset(seed=SEED)
        observations, rewards = [np.asarray(seen, np.float64)], [0.0]
        check_success(info)
        for step in range(len(actions) or STEPS):
            random = rng.uniform(low, high) if bounded else rng.normal(size=space.shape)
            action = spaces.as_action(np.asarray(actions[step]) if len(actions) else random, space)
            played = action
            seen, reward, terminated, truncated, info = env.step(action)
            check_success(info)
            observations.append(np.asarray(seen, np.float64))
            rewards.append(float(reward))
            if terminated or truncated:
                break
    except UserError as error:
        raise task.error(str(error)) from error
    except Exception as error:  # it is foreign code, which may raise anything
        doing = f"reset(seed={SEED})" if played is None else f"step({played!r})"
        raise task.error(
            f"raises {type(error).__name__} in {doing}: {error}. Mend it, or install the version that it was recorded "
            "with."
        ) from error
    size = env.observation_space.shape
    if wrong := [values.shape for values in observations if values.shape != size]:
        raise task.error(f"has an observation of shape {wrong[0]}, not of its space's, {size}. Mend it.")
    if not all(np.isfinite(values).all() for values in (*observations, np.array(rewards))):
        raise task.error("has an observation or a reward that is not finite within its first steps. Mend it.")
    return np.array(observations), np.array(rewards)


def check_success(info: Mapping[str, Any], steps: int | None = None) -> None:
    """Refuse success that is no single number.

    Args:
        info: of one step; with `steps`, of a recorded episode, an entry a step.
        steps: of the episode, to which the info of the reset may come.

    Raises:
        UserError: naming what it is.
    """
    for key in KEYS:
        value: Any = info.get(key)
        if isinstance(value, Mapping):
            what = f"a mapping of {', '.join(map(str, value))}"
        elif np.size(value) > (1 if steps is None else steps + 1):
            what = f"an array of shape {np.shape(value)}"
        else:
            continue
        raise UserError(
            f"has {what} for info[{key!r}], where a number says whether a step succeeded. Wrap the environment so that "
            "it is one number, or leave it out, and record anew."
        )
