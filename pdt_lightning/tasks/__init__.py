"""What there is to solve: tasks, the families they come in, their environments and scripted or learned experts.

To add a task family, write a file with a class derived from `TaskFamily` (`base.py`), register its environment with
Gymnasium below, and name the class in pyproject.toml among the entry points `pdt_lightning.families`;
docs/adding_a_family.md shows one. To add a simulator, write a Gymnasium environment for it in the family's file: a
task names its environment, and the room `rollouts` plays whatever Gymnasium can make.
"""

import gymnasium as gym

from pdt_lightning.tasks.base import Recipe, Task, TaskFamily, families, make_family
from pdt_lightning.tasks.contract import check_family

# String entry points: registering imports no simulator, and Minari can recover the environments from their
# specification.
gym.register("pdt-lightning/Point-v0", entry_point="pdt_lightning.tasks.point:PointEnv")
gym.register("pdt-lightning/ML1-v0", entry_point="pdt_lightning.tasks.metaworld:ML1Env")
gym.register(
    "pdt-lightning/HalfCheetahVelocity-v0", entry_point="pdt_lightning.tasks.half_cheetah:HalfCheetahVelocityEnv"
)
gym.register(
    "pdt-lightning/HalfCheetahDirection-v0", entry_point="pdt_lightning.tasks.half_cheetah:HalfCheetahDirectionEnv"
)
gym.register("pdt-lightning/AntDirection-v0", entry_point="pdt_lightning.tasks.ant:AntDirectionEnv")

__all__ = ["Recipe", "Task", "TaskFamily", "check_family", "families", "make_family"]
