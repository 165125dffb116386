"""The sparse 2-D point: a common trunk to a hub, then a spoke to one of sixteen goals. Known optimum: a return of 10.

About half of every demonstration lies on the trunk and says nothing about the goal, which makes the family the smallest
one on which choosing prompts matters. Its layout is our own; the papers give none.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from pdt_lightning.core.errors import check_range
from pdt_lightning.core.ranges import NonNegativeFloat, check_types
from pdt_lightning.tasks.base import Expert, Recipe, Task, TaskFamily, check_held_out, demonstrated
from pdt_lightning.tasks.option_types import Candidates, Horizon, Share, Training

GOALS = 16
HUB = np.array([1.0, 0.0])
ANGLES = np.linspace(-np.pi / 2, np.pi / 2, GOALS)
GOAL_POSITIONS = HUB + np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=-1)  # (16, 2)
GOAL_RADIUS = 0.12
STEP_LENGTH = 0.1
START_NOISE = 0.02
REWARD = 10.0
HELD_OUT = (3, 7, 11)
PIXELS, VIEW = 300, 2.6  # width of a frame, and how much of the plane it shows, with the hub in the middle


class PointEnv(gym.Env):
    """Walk to the task's own goal, which is not observed: +10 for touching it, -10 for another; both end the episode.

    Observation: position `(x, y)`. Action: direction in the unit disc, times 0.1 a step. Start: near (0, 0).
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, goal: int, horizon: int = 30, render_mode: str | None = None):
        check_range("goal", goal, 0, GOALS - 1)
        self.goal = goal
        self.horizon = horizon
        self.render_mode = render_mode
        self.observation_space = gym.spaces.Box(-10.0, 10.0, (2,), np.float64)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.position = np.zeros(2)
        self.steps = 0
        self._path: list[np.ndarray] = []  # to be drawn

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start near the origin, displaced by the episode's seed."""
        super().reset(seed=seed)
        self.position = self.np_random.normal(0.0, START_NOISE, 2)
        self.steps = 0
        self._path = [self.position]
        return self.position.copy(), {"success": 0.0}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step; where two goal discs overlap the nearest goal counts."""
        action = np.asarray(action, np.float64)
        self.position = self.position + STEP_LENGTH * action / max(1.0, float(np.linalg.norm(action)))
        self.steps += 1
        self._path.append(self.position)
        distances = np.linalg.norm(GOAL_POSITIONS - self.position, axis=-1)
        nearest = int(distances.argmin())
        touched = bool(distances[nearest] <= GOAL_RADIUS)
        won = touched and nearest == self.goal
        reward = (REWARD if won else -REWARD) if touched else 0.0
        return (
            self.position.copy(),
            reward,
            touched,
            not touched and self.steps >= self.horizon,
            {"success": float(won)},
        )

    def render(self) -> np.ndarray | None:
        """`(300, 300, 3)` uint8: the goals as discs, the task's own one green, and the way so far.

        It is None without a render mode.
        """
        if self.render_mode != "rgb_array":
            return None
        from PIL import Image, ImageDraw  # only films need it

        image = Image.new("RGB", (PIXELS, PIXELS), "white")
        draw = ImageDraw.Draw(image)

        def pixels(position: np.ndarray) -> tuple[float, float]:
            x, y = (position - HUB) * PIXELS / VIEW + PIXELS / 2
            return float(x), PIXELS - float(y)

        for number, goal in enumerate(GOAL_POSITIONS):
            own = number == self.goal
            draw.circle(
                pixels(goal),
                GOAL_RADIUS * PIXELS / VIEW,
                "#2a9d4a" if own else None,
                "#2a9d4a" if own else "#999999",
                2,
            )
        way = [pixels(position) for position in self._path]
        draw.line(way, "#1f4e9c", 2)
        for place in way[-1:]:
            draw.circle(place, 5, "#1f4e9c")
        return np.asarray(image)


def walk(env: gym.Env) -> Expert:
    """The expert: full speed to the hub, then full speed to the goal."""
    goal = GOAL_POSITIONS[env.unwrapped.goal]
    passed_hub = False

    def act(position: np.ndarray) -> np.ndarray:
        nonlocal passed_hub
        passed_hub = passed_hub or bool(np.linalg.norm(HUB - position) <= STEP_LENGTH)
        way = (goal if passed_hub else HUB) - position
        return (way / max(float(np.linalg.norm(way)), 1e-9)).astype(np.float32)

    return act


class PointFamily(TaskFamily):
    """Thirteen goals to train on, three held out.

    Args:
        held_out: goals that are not trained on.
        training_demonstrations: episodes for each training goal.
        candidate_demonstrations: episodes that prompts of a goal are taken from.
        action_noise: standard deviation of the demonstrations' action noise.
        expert_share: share of expert demonstrations among the candidates; the rest acts at random.
        horizon: steps of an episode that touches no goal.
        collection_seed: seed of the demonstrations.
    """

    def __init__(
        self,
        held_out: Sequence[int] = HELD_OUT,
        training_demonstrations: Training = 50,
        candidate_demonstrations: Candidates = 5,
        action_noise: NonNegativeFloat = 0.05,
        expert_share: Share = 1.0,
        horizon: Horizon = 30,
        collection_seed: int = 0,
    ):
        check_types("data.family_options", PointFamily.__init__, locals())
        check_held_out(held_out, GOALS)
        tasks: list[Task] = []
        recipes: dict[str, Recipe] = {}
        for goal in range(GOALS):
            bare = Task(
                id=f"point/{goal:02d}",
                env_id="pdt-lightning/Point-v0",
                env_kwargs={"goal": goal, "horizon": horizon},
                horizon=horizon,
                target_return=REWARD,
                return_scale=REWARD,
                plane=((0, "x"), (1, "y")),
            )
            task, own_recipes = demonstrated(
                bare,
                walk,
                ("training_demonstrations", training_demonstrations),
                ("candidate_demonstrations", candidate_demonstrations),
                action_noise=action_noise,
                expert_share=expert_share,
                seed=collection_seed,
            )
            tasks.append(task)
            recipes |= own_recipes
        self.recipes = recipes
        self.training_tasks = tuple(task for goal, task in enumerate(tasks) if goal not in held_out)
        self.heldout_tasks = tuple(tasks[goal] for goal in sorted(held_out))
