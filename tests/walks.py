"""An environment such as a user might bring, and datasets of it."""

import json
import warnings

import gymnasium as gym
import minari
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from minari.data_collector import EpisodeBuffer

from pdt_lightning.data.minari import path_of

NAME = "tests/Walk-v0"
AUTHOR = {"algorithm_name": "x", "author": "me", "author_email": "x", "code_permalink": "x", "description": "x"}


class Walk(gym.Env):
    """Walks from near the origin to one of eight goals on a circle, which is not observed; the reward is minus the distance.

    Args:
        goal: its number.
        box: half-width of the action box.
        dtype: of the action box; integers are 0 to 10, and 5 stands still.
        gain: how far an action of 1 goes.
        parts: names of the parts of a Dict observation in the order in which they are declared; empty: a Box.
        success: form of the success in the info.
        offset: of what is observed.
        unit: of what is observed.
        fault: what goes wrong.
        spread: of the places that it begins from.
        moves: how an action says where to go: a `box` of one dimension; a `matrix`, a box of two; or steps of -1, 0 or 1
            in both directions: `one` number of nine, from 2; `two` numbers; or `four` buttons.
        render_mode: of no account.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        goal=0,
        box=1.0,
        dtype="float32",
        gain=0.1,
        parts=(),
        success="none",
        offset=0.0,
        unit=1.0,
        fault="",
        moves="box",
        spread=0.5,
        render_mode=None,
    ):
        self.gain, self.parts, self.success, self.offset, self.unit, self.fault = (
            gain,
            parts,
            success,
            offset,
            unit,
            fault,
        )
        if fault == "build":
            raise KeyError("no such robot")
        whole = np.dtype(dtype).kind == "i"
        self.action_space = Box(0, 10, (2,), np.dtype(dtype)) if whole else Box(-box, box, (2,), np.dtype(dtype))
        self.moves, self.spread = moves, spread
        if moves != "box":
            self.action_space = {
                "matrix": Box(-box, box, (2, 1), np.float32),
                "one": Discrete(9, start=2),
                "two": MultiDiscrete([3, 3], start=[-1, -1]),
                "four": MultiBinary(4),
            }[moves]
        one = Box(-np.inf, np.inf, (1,), np.float64)
        self.observation_space = (
            Dict([(key, one) for key in parts]) if parts else Box(-np.inf, np.inf, (2,), np.float64)
        )
        self.aim(goal)

    def aim(self, goal):
        self.goal = np.array([np.cos(goal * np.pi / 4), np.sin(goal * np.pi / 4)])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=None if self.fault == "unseeded" else seed)
        if self.fault == "reset":
            raise OSError("no display")
        if options:
            self.aim(options["goal"])
        self.place = self.np_random.normal(0, self.spread, 2)
        return self.see(), self.info(reset=True)

    def see(self):
        if self.fault == "endless":
            return np.array([np.inf, 0.0])
        x, y = self.place * self.unit + self.offset
        return (
            dict(zip(sorted(self.parts), (np.array([x]), np.array([y])), strict=True))
            if self.parts
            else np.array([x, y])
        )

    def info(self, reset=False):
        near = float(np.linalg.norm(self.place - self.goal) < 0.15)
        return {
            "none": {},
            "number": {"success": near},
            "when it happens": {"success": True} if near else {},
            "is_success": {"is_success": bool(near)},
            "nan at reset": {"success": np.nan if reset else near},
            "mapping": {"success": {"reach": near}},
            "vector": {"success": np.array([near, near])},
        }[self.success]

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not in the action space"
        if self.fault == "step":
            raise ZeroDivisionError("contact")
        self.place = self.place + self.gain * self.meant(action)
        return self.see(), -float(np.linalg.norm(self.place - self.goal)), False, False, self.info()

    def meant(self, action):
        """`(2,)` where an action says to go."""
        if self.moves == "one":
            return np.array(divmod(int(action) - 2, 3)) - 1.0
        moved = np.asarray(action, np.float64).reshape(-1)
        if self.moves == "four":
            return moved[:2] - moved[2:]
        return (moved - 5) / 5 if self.moves == "box" and self.action_space.dtype.kind == "i" else moved


def walk(**options):
    """The environment, registered under `NAME`."""
    if NAME not in gym.registry:
        gym.register(NAME, entry_point="tests.walks:Walk")
    return gym.make(NAME, disable_env_checker=True, **options)


def to_the_goal(scale):
    """Somebody who knows the goal of a walk."""

    def act(env, seen, rng):
        inner, space = env.unwrapped, env.action_space
        wish = (
            np.clip((inner.goal - inner.place) / 0.1, -1, 1) * scale + rng.normal(0, 0.05, np.size(inner.goal)) * scale
        )
        if not isinstance(space, Box):
            steps = np.rint(wish).clip(-1, 1).astype(np.int64)
            both = np.concatenate([steps > 0, steps < 0]).astype(np.int8)
            return {"one": 2 + (steps + 1) @ [3, 1], "two": steps, "four": both}[inner.moves]
        wish = wish.reshape(space.shape)
        wish = np.rint(5 + 5 * wish) if space.dtype.kind == "i" else wish
        return np.clip(wish, space.low, space.high).astype(space.dtype)

    return act


def record(
    name, env, episodes=4, steps=8, seed=0, options=None, spec=None, scale=1.0, ended=None, lengths=(), by=None, **more
):
    """Record somebody, called with environment, observation and generator, into a dataset; the seeds of its episodes."""
    rng, buffers, act = np.random.default_rng(seed), [], by or to_the_goal(scale)
    seeds = [int(number) for number in rng.integers(2**31, size=episodes)]
    for number, own in enumerate(seeds):
        seen, info = env.reset(seed=own, options=options)
        observations, actions, rewards, infos = [seen], [], [], [info]
        for _ in range(lengths[number] if lengths else steps):
            action = act(env, seen, rng)
            seen, reward, terminated, truncated, info = env.step(action)
            observations.append(seen)
            actions.append(action)
            rewards.append(float(reward))
            infos.append(info)
            if terminated or truncated:
                break
        last, over = np.arange(len(rewards)) == len(rewards) - 1, terminated if ended is None else ended
        buffers.append(
            EpisodeBuffer(
                observations=stacked(observations),
                actions=np.array(actions),
                rewards=rewards,
                terminations=last & over,
                truncations=last & (not over),
                infos=stacked(infos) if all(infos) else None,
                options=options,
                seed=own,
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Minari's, on what a user leaves out
        minari.create_dataset_from_buffers(name, buffers, env=spec or env, **AUTHOR, **more)
    return seeds


def stacked(rows):
    """Dicts of rows → a dict of arrays; tuples likewise; other rows → an array."""
    if isinstance(rows[0], tuple):
        return tuple(stacked([row[number] for row in rows]) for number in range(len(rows[0])))
    return (
        {key: stacked([row[key] for row in rows]) for key in rows[0]} if isinstance(rows[0], dict) else np.array(rows)
    )


def edit(name, change, spec=False):
    """Change what a dataset says of itself; with `spec`, its environments."""
    path = path_of(name) / "data" / "metadata.json"
    known = json.loads(path.read_text())
    if spec:
        for key in ("env_spec", "eval_env_spec"):
            if key in known:
                known[key] = json.dumps(change(json.loads(known[key])))
    else:
        change(known)
    path.write_text(json.dumps(known))


class Rooms(gym.Env):
    """Four rooms in a ring, of which one is the goal; what is observed is of many kinds, and the action says how far to go."""

    def __init__(self, goal=0):
        self.goal = goal
        self.action_space = Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = Dict(
            [
                ("room", Discrete(4, start=1)),
                ("doors", MultiDiscrete([2, 3])),
                ("seen", MultiBinary(2)),
                ("both", Tuple((Discrete(2), Box(-np.inf, np.inf, (2, 2), np.float64)))),
            ]
        )

    def see(self):
        room = int(self.place) % 4
        return {
            "room": np.int64(room + 1),
            "doors": np.array([room % 2, room % 3]),
            "seen": np.array([room > 1, room > 2], np.int8),
            "both": (np.int64(room // 2), np.full((2, 2), self.place)),
        }

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = float(self.np_random.uniform(0, 4))
        return self.see(), {}

    def step(self, action):
        self.place = (self.place + float(action[0])) % 4
        return self.see(), -abs(self.place - self.goal), False, False, {}
