"""Meta-World ML1: one manipulation, many object and goal positions; the goal is hidden, only a prompt can reveal it."""

import functools
import json
import pickle
import warnings
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import gymnasium as gym
import metaworld
import numpy as np
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP

from pdt_lightning.core import cache
from pdt_lightning.core.errors import UserError, check_choice, check_range
from pdt_lightning.core.ranges import NonNegativeFloat, check_types, number
from pdt_lightning.tasks.base import Expert, Recipe, Task, TaskFamily, check_held_out, demonstrated
from pdt_lightning.tasks.option_types import Candidates, Share, Training

HELD_OUT = (11, 17, 25, 36, 41)  # of the 50 goals of the benchmark's seed 1: the split of the Prompt-DT papers
METAWORLD_SEED = 1
OBSERVATION_SIZE = 39
MAX_HORIZON = 500
if TYPE_CHECKING:
    EnvName = str
    Horizon = int
    StartNoise = float
else:
    EnvName = Literal[tuple(sorted(ALL_V3_ENVIRONMENTS))]
    Horizon = number(int, 1, MAX_HORIZON)
    StartNoise = number(float, 0, 1)
CAMERA = "corner4"  # looks over the whole table from the side, closer than the others
# Goals of one environment differ most in these two.
HAND_PLANE = (
    (0, "hand: sideways, x (m)"),
    (2, "hand: height, z (m)"),
)

# A simulator takes 0.1 s to build and tasks differ only in positions: a closed environment leaves its simulator to the
# next one.
_idle_simulators: dict[tuple[str, str | None], list[Any]] = defaultdict(list)


class ML1Env(gym.Env):
    """One Meta-World task, with the goal hidden, a seeded start and a horizon of our own.

    Meta-World's tasks are frozen vectors and its `reset(seed=)` does nothing, so that all episodes of a task are one
    and the same. Here the episode's seed displaces the object's start position.

    Args:
        env_name: Meta-World environment such as `pick-place-v3`.
        positions: the task's frozen vector: object position, then (where the environment has one) goal position, in
            metres.
        horizon: steps until truncation, at most 500.
        start_noise: the object's x and y are displaced uniformly within this distance, in metres; 0: as published.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["human", "rgb_array", "depth_array"], "render_fps": 80}

    def __init__(
        self,
        env_name: str,
        positions: Sequence[float],
        horizon: int = 150,
        start_noise: float = 0.01,
        render_mode: str | None = None,
    ):
        check_choice("env_name", env_name, sorted(ALL_V3_ENVIRONMENTS))
        check_range("horizon", horizon, 1, MAX_HORIZON)
        self.env_name = env_name
        self.positions = np.asarray(positions, np.float64)
        self.horizon = horizon
        self.start_noise = start_noise
        self.render_mode = render_mode
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (OBSERVATION_SIZE,), np.float64)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (4,), np.float32)
        self._simulator: Any = None
        self._steps = 0

    @property
    def simulator(self) -> Any:
        """Meta-World's own environment: taken from the idle ones, or built when first needed."""
        if self._simulator is None:
            idle = _idle_simulators[self.env_name, self.render_mode]
            make = ALL_V3_ENVIRONMENTS[self.env_name]
            self._simulator = idle.pop() if idle else make(render_mode=self.render_mode, camera_name=CAMERA)
            self._simulator.set_task(
                metaworld.Task(
                    env_name=self.env_name,
                    data=pickle.dumps(
                        {
                            "rand_vec": self.positions,
                            "env_cls": ALL_V3_ENVIRONMENTS[self.env_name],
                            "partially_observable": True,
                        }
                    ),
                )
            )
        return self._simulator

    def _displaced_positions(self) -> np.ndarray:
        positions = self.positions.copy()
        if self.start_noise > 0:
            positions[:2] += self.np_random.uniform(-self.start_noise, self.start_noise, 2)
        return positions

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode with the object displaced by the episode's seed."""
        super().reset(seed=seed)
        # Drawn anew at each call: Meta-World asks again while object and goal are too close, for ever if it got the
        # same.
        self.simulator._get_state_rand_vec = self._displaced_positions
        self._steps = 0
        observation, _ = self.simulator.reset()
        return observation, {"success": 0.0}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step; success is reported and does not end the episode."""
        observation, reward, _, _, info = self.simulator.step(np.asarray(action, np.float32))
        self._steps += 1
        return observation, float(reward), False, self._steps >= self.horizon, {"success": float(info["success"])}

    @property
    def goal(self) -> np.ndarray:
        """Where the goal is, in metres, for experts and figures; no observation shows it."""
        return np.asarray(self.simulator._target_pos, np.float64)

    def render(self) -> Any:
        """A frame in `render_mode`, the right way up: Meta-World hangs its corner cameras upside down."""
        frame = self.simulator.render()
        return frame[::-1, ::-1] if isinstance(frame, np.ndarray) else frame

    def close(self) -> None:
        """Leave the simulator to the next environment of this kind."""
        if self._simulator is not None:
            _idle_simulators[self.env_name, self.render_mode].append(self._simulator)
            self._simulator = None

    def discard(self) -> None:
        """Leave the simulator to nobody: something went wrong in it."""
        self._simulator = None


def scripted(env: gym.Env) -> Expert:
    """Meta-World's scripted expert, which is shown the goal that the observation hides."""
    bare: ML1Env = env.unwrapped
    policy = ENV_POLICY_MAP[bare.env_name]()

    def act(observation: np.ndarray) -> np.ndarray:
        seeing = observation.copy()
        seeing[-3:] = bare.goal
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Constant"
            )  # the script warns of actions beyond [-1, 1], which are clipped here
            return np.clip(policy.get_action(seeing), -1.0, 1.0).astype(np.float32)

    return act


@functools.cache
def goals(env_name: str, metaworld_seed: int) -> tuple[tuple[float, ...], ...]:
    """The 50 frozen vectors of one benchmark seed, kept once found: Meta-World needs a second to draw them.

    (`Meta-World/ML1-train` through Gymnasium would give the test split.)
    """

    def draw(folder: Path) -> None:
        tasks = metaworld.ML1(env_name, seed=metaworld_seed).train_tasks
        found = [[float(x) for x in pickle.loads(task.data)["rand_vec"]] for task in tasks]
        (folder / "goals.json").write_text(json.dumps(found))

    place = cache.keep(f"goals-{env_name}", [env_name, metaworld_seed, version("metaworld")], draw)
    return tuple(tuple(goal) for goal in json.loads((place / "goals.json").read_text()))


def goal_task(task_id: str, env_name: str, positions: tuple[float, ...], horizon: int, start_noise: float) -> Task:
    """One goal of an environment, without demonstrations, which will decide what to ask for and its scale."""
    return Task(
        id=task_id,
        env_id="pdt-lightning/ML1-v0",
        env_kwargs={"env_name": env_name, "positions": positions, "horizon": horizon, "start_noise": start_noise},
        horizon=horizon,
        plane=HAND_PLANE,
    )


class MetaworldFamily(TaskFamily):
    """ML1: 45 goals to train on, 5 held out, and more training goals from further seeds of the benchmark.

    Args:
        env_name: any Meta-World environment.
        held_out: goals of the benchmark's seed 1 that are not trained on.
        extra_goal_seeds: benchmark seeds whose 50 goals each are trained on besides; empty: the published 45.
        training_demonstrations: episodes for each of the 45 training goals.
        extra_demonstrations: episodes for each further training goal.
        candidate_demonstrations: episodes that prompts of a goal are taken from.
        action_noise: standard deviation of the demonstrations' action noise; actions lie in [-1, 1].
        expert_share: share of expert demonstrations among the candidates; the rest acts at random.
        horizon: steps of an episode; 500 as published.
        start_noise: displacement of the object's start position by the episode seed, in metres; 0 as published.
        collection_seed: seed of the demonstrations.
    """

    def __init__(
        self,
        env_name: EnvName = "pick-place-v3",
        held_out: Sequence[int] = HELD_OUT,
        extra_goal_seeds: Sequence[int] = (2, 3, 4),
        training_demonstrations: Training = 20,
        extra_demonstrations: Training = 8,
        candidate_demonstrations: Candidates = 5,
        action_noise: NonNegativeFloat = 0.1,
        expert_share: Share = 1.0,
        horizon: Horizon = 150,
        start_noise: StartNoise = 0.01,
        collection_seed: int = 0,
    ):
        check_types("data.family_options", MetaworldFamily.__init__, locals())
        if METAWORLD_SEED in extra_goal_seeds:
            raise UserError(
                f"`data.family_options.extra_goal_seeds`: seed {METAWORLD_SEED} holds the goals that are held out."
            )
        for seed in extra_goal_seeds:
            check_range("`data.family_options.extra_goal_seeds`", seed, 0, 2**32 - 1)
        if len(set(extra_goal_seeds)) < len(extra_goal_seeds):
            raise UserError(f"`data.family_options.extra_goal_seeds`={list(extra_goal_seeds)}: name each seed once.")
        check_held_out(held_out, 50)
        recipes: dict[str, Recipe] = {}

        def task(name: str, positions: tuple[float, ...], demonstrations: tuple[str, int]) -> Task:
            filled, own_recipes = demonstrated(
                goal_task(f"{env_name}/{name}", env_name, positions, horizon, start_noise),
                scripted,
                demonstrations,
                ("candidate_demonstrations", candidate_demonstrations),
                action_noise=action_noise,
                expert_share=expert_share,
                seed=collection_seed,
            )
            recipes.update(own_recipes)
            return filled

        published, further = (
            ("training_demonstrations", training_demonstrations),
            ("extra_demonstrations", extra_demonstrations),
        )
        own = [task(f"{n:02d}", g, published) for n, g in enumerate(goals(env_name, METAWORLD_SEED))]
        extra = [
            task(f"seed{seed}-{n:02d}", positions, further)
            for seed in extra_goal_seeds
            for n, positions in enumerate(goals(env_name, seed))
        ]
        self.recipes = recipes
        self.heldout_tasks = tuple(own[n] for n in sorted(held_out))
        self.training_tasks = (*(t for n, t in enumerate(own) if n not in held_out), *extra)
