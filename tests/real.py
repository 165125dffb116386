"""Environments that people have, from packages, and somebody who acts well enough in each to be recorded."""

import functools

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import FilterObservation


def lake(goal, **more):
    """A frozen lake without slips, with two holes and a goal in another place."""
    cells = np.array(list("SFFFFHFFFFFFFFHF"))
    cells[goal] = "G"
    rows = ["".join(row) for row in cells.reshape(4, 4)]
    return gym.make("FrozenLake-v1", desc=rows, is_slippery=False, **more)


@functools.lru_cache
def table(env):
    """The best action of each state, by value iteration on the environment's own table of transitions."""
    known = env.unwrapped.P
    moves = np.array([[known[state][action][0] for action in sorted(known[state])] for state in sorted(known)])
    following, rewards, over = moves[..., 1].astype(int), moves[..., 2], moves[..., 3].astype(bool)
    values = np.zeros(len(known))
    for _ in range(200):
        worth = rewards + 0.95 * np.where(over, 0.0, values[following])
        values = worth.max(axis=1)
    return worth.argmax(axis=1)


def by_table(noise=0.0):
    """Acts by `table`, and at times at random."""

    def act(env, seen, rng):
        return np.int64(rng.integers(env.action_space.n) if rng.random() < noise else table(env)[seen])

    return act


def taxi():
    return gym.make("Taxi-v4", max_episode_steps=25)


def cliff():
    return gym.make("CliffWalking-v1", max_episode_steps=20)


def cards():
    """Observations are a tuple of three numbers."""
    return gym.make("Blackjack-v1")


def careful(env, seen, rng):
    """Takes cards up to sixteen."""
    return np.int64(seen[0] < 17)


def grid():
    """What is seen are seven by seven cells, of three numbers each, and the direction."""
    import minigrid.envs  # noqa: F401

    return FilterObservation(gym.make("MiniGrid-Empty-Random-5x5-v0"), ["image", "direction"])


def to_the_corner(env, seen, rng):
    """Turns to the goal, which is down on the right, and goes there: turning right is 1, going 2."""
    x, _ = env.unwrapped.agent_pos
    return np.int64(2 if env.unwrapped.agent_dir == (0 if x < 3 else 1) else 1)


def maze():
    import gymnasium_robotics  # noqa: F401

    return gym.make("PointMaze_Open-v3", max_episode_steps=20)


def to_the_place(env, seen, rng):
    """Pushes to the goal that is seen, and brakes."""
    pull = 5 * (seen["desired_goal"] - seen["achieved_goal"]) - seen["observation"][2:]
    return np.clip(pull, -1, 1).astype(np.float32)


def arm():
    import gymnasium_robotics  # noqa: F401

    return gym.make("FetchReach-v4", max_episode_steps=12)


def reach(env, seen, rng):
    """Moves the hand to the goal that is seen."""
    pull = 5 * (seen["desired_goal"] - seen["achieved_goal"])
    return np.clip([*pull, 0.0], -1, 1).astype(np.float32)


# By name: how to make it, who acts, and what an episode's first observation is as a vector: its size and how many ones.
KINDS = {
    "taxi": (taxi, by_table(), 500),
    "cliff": (cliff, by_table(), 48),
    "cards": (cards, careful, 32 + 11 + 2),
    "grid": (grid, to_the_corner, 7 * 7 * 3 + 4),
    "maze": (maze, to_the_place, 8),
    "arm": (arm, reach, 16),
}
