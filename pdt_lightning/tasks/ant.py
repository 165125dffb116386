"""The ant of the Prompt-DT papers: walk in a given direction, which no observation shows.

Source: Xu et al. 2022 (arXiv 2206.13499), public code, for observations, rewards, directions, splits and horizon.
"""

from types import MappingProxyType
from typing import Any

import numpy as np
from gymnasium.envs.mujoco.ant_v5 import AntEnv

from pdt_lightning.tasks.base import Task
from pdt_lightning.tasks.learned import LearnedFamily

# Radians from the x axis; drawn once for the published benchmark.
DIRECTIONS = (
    1.2033605945679715, 0.42663053293975295, 4.944775479235424, 4.123865140631488, 4.005661927041337,
    3.6166196447991155, 0.2454395410534735, 2.2482091824000023, 5.941902704664186, 0.3772718531319245,
    5.428936649786095, 5.512178944021152, 0.32165928764709933, 4.099267058824251, 3.4667560926228758,
    3.754286493596681, 3.0380999478653634, 1.7780670544024204, 1.87066585880318, 3.5280645037970855,
    2.488439431116824, 4.9555527108165744, 2.629414941289294, 0.9041750006610754, 0.9481747251390378,
    0.3470916400248258, 4.511560745487209, 1.8366841068540096, 1.2489330732603883, 5.223613581580657,
    3.5687934580622827, 0.5173559024487111, 3.42432703215533, 0.9987672483128179, 4.252223478300645,
    0.7443831939965014, 2.795992744398332, 5.579358183330077, 5.009380886994954, 0.42712294662677097,
    6.036807514750099, 4.141909635790574, 4.516203325267859, 4.672030605450681, 5.577812002817041,
    0.8416054504725834, 4.881875268913003, 5.26525595696687, 5.210675507763471, 0.1831988121347493,
)  # fmt: skip
HELD_OUT = (6, 17, 23, 30, 41)
# The extrapolation split, ant_dir_10_ood: few directions to train on, and others outside of the arcs between them.
OOD = ((8, 13, 16, 20, 22, 26, 32, 37), (1, 4, 41))
HORIZON = 200
HEALTHY = (0.2, 1.0)  # metres, height of the torso
VELOCITY_PLANE = ((13, "torso: velocity along x (m/s)"), (14, "along y (m/s)"))  # where the ant goes is not observed
QUARTER = np.pi / 2
LEGS = np.arange(4)
ANKLE_SIGNS = np.array([1.0, -1.0, -1.0, 1.0])  # which way each leg's ankle bends for a positive angle
ACTION_LEGS = np.array([3, 0, 1, 2])  # the leg of each pair of actions


class AntDirectionEnv(AntEnv):
    """Reward: velocity along the task's direction, plus 1, minus effort and contact forces.

    An episode ends when the torso is too low or too high.

    Observation `(27,)`: height and orientation (5) and joint angles (8) of `qpos[2:]`, then `qvel` (14).

    Args:
        direction: to walk in, in radians from the x axis.
        render_mode: as Gymnasium has them.
    """

    def __init__(self, direction: float, render_mode: str | None = None):
        super().__init__(include_cfrc_ext_in_observation=False, healthy_z_range=HEALTHY, render_mode=render_mode)
        self.direction = direction

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step."""
        before = self.data.body("torso").xpos[:2].copy()
        self.do_simulation(action, self.frame_skip)
        velocity = (self.data.body("torso").xpos[:2] - before) / self.dt
        progress = float(velocity @ (np.cos(self.direction), np.sin(self.direction)))
        effort = 0.5 * float(np.square(action).sum())
        contact = 5e-4 * float(np.square(np.clip(self.data.cfrc_ext, -1.0, 1.0)).sum())
        if self.render_mode == "human":
            self.render()
        return self._get_obs(), progress - effort - contact + 1.0, not self.is_healthy, False, {}

    def set_observed(self, observation: np.ndarray) -> None:
        """Put the simulator into the state of an observation `(27,)`, at the origin: no reward depends on the place."""
        self.set_state(np.concatenate([[0.0, 0.0], observation[:13]]), observation[13:])

    def shown(self, observation: np.ndarray) -> np.ndarray:
        """`(27,)`: what an expert sees.

        The world is turned so that its direction lies ahead, and the legs are counted from there.

        Body and world are alike after a quarter turn, so that one way of walking, at most 45 degrees from where leg 1
        points, serves all directions.
        """
        turn = self._turn()
        height, w, x, y, z = observation[:5]
        # Orientation: of the torso, after a quarter turn in the torso's own frame and the direction's turn back in the
        # world's.
        orientation = _about_z(-self.direction, _about_z(turn * QUARTER, np.array([w, x, y, z]), own=True))
        orientation *= np.copysign(1.0, orientation[0]) / np.linalg.norm(orientation)
        joints, speeds = observation[5:13].reshape(4, 2), observation[19:].reshape(4, 2)
        legs = (LEGS + turn) % 4
        signs = np.stack([np.ones(4), ANKLE_SIGNS * ANKLE_SIGNS[legs]], axis=-1)
        return np.concatenate(
            [
                [height],
                orientation,
                (joints[legs] * signs).ravel(),
                _rotated(observation[13:16], -self.direction),  # in the world's frame
                _rotated(observation[16:19], -turn * QUARTER),  # in the torso's
                (speeds[legs] * signs).ravel(),
            ]
        )

    def acted(self, action: np.ndarray) -> np.ndarray:
        """`(8,)`: an expert's action, its legs counted as in `shown`, for the legs as they are."""
        legs = (ACTION_LEGS - self._turn()) % 4
        signs = np.stack([np.ones(4), ANKLE_SIGNS[ACTION_LEGS] * ANKLE_SIGNS[legs]], axis=-1)
        by_leg = action.reshape(4, 2)[np.argsort(ACTION_LEGS)]
        return (by_leg[legs] * signs).astype(action.dtype).ravel()

    def _turn(self) -> int:
        return round(self.direction / QUARTER) % 4


def _rotated(vector: np.ndarray, angle: float) -> np.ndarray:
    """`(3,)`, turned about z by `angle` radians."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * vector[0] - s * vector[1], s * vector[0] + c * vector[1], vector[2]])


def _about_z(angle: float, orientation: np.ndarray, own: bool = False) -> np.ndarray:
    """A quaternion `(w, x, y, z)` turned about the world's z axis, or about its `own`, by `angle` radians."""
    c, s = np.cos(angle / 2), np.sin(angle / 2)
    w, x, y, z = orientation
    across = -s if own else s  # in what the order of a product of quaternions makes a difference
    return np.array([c * w - s * z, c * x - across * y, c * y + across * x, c * z + s * w])


def direction_task(number: int) -> Task:
    """Task `number` of the 50, without demonstrations."""
    return Task(
        id=f"ant-dir/{number:02d}",
        env_id="pdt-lightning/AntDirection-v0",
        env_kwargs={"direction": DIRECTIONS[number]},
        horizon=HORIZON,
        target_return=500.0,
        return_scale=500.0,
        plane=VELOCITY_PLANE,
    )


class AntDirectionFamily(LearnedFamily):
    """Fifty directions: 45 to train on, 5 held out; `split: ood` has 8 to train on and 3 held out."""

    name = "ant-dir"
    file_prefix = "ant_dir"
    splits = LearnedFamily.split_off(len(DIRECTIONS), HELD_OUT) | {"ood": OOD}
    practice_steps = 2_000_000
    replay_tolerance = 0.02  # older versions of MuJoCo reported no contact forces, which cost so much here
    replay_bounds = MappingProxyType({"rewards": 0.2, "observations": 1.0})  # and more of its steps are contacts
    bare_task = staticmethod(direction_task)

    @staticmethod
    def floor(task: Task) -> float:
        """More than twice the 200 that standing still pays."""
        return 500.0
