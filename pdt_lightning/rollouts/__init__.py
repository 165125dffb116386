"""What is tried: a frozen model with a prompt plays episodes, and says what came of them.

`rollout.py` plays rows of (task, prompt, seed) in the environments that `environments.py` lends, and `pool.py` in
worker processes. To add a way to play, such as a simulator that steps many episodes at once, write another function
from rows to outcomes, a `rollout.Rollout`; environments themselves belong to their task family, in the room `tasks`.
"""

from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Outcome, Row, rollout

__all__ = ["Outcome", "Policy", "Row", "rollout"]
