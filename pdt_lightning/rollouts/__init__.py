"""What is tried: a frozen model with a prompt plays episodes, and says what came of them.

`rollout.py` plays rows of (task, prompt, seed) in the environments that `environment_cache.py` lends, and `pool.py`
plays them in worker processes; `workers.py` notices that one died or hangs. `engine.py` plays again what went wrong,
`giving_up.py` ends that for a task of which nothing can be played, and `failures.py` says what a failed episode counts
as.

To add a way to play, such as a simulator that steps many episodes at once, write a class in a file beside `pool.py`
derived from `engine.RolloutEngine`, and name it in `engines.py`; one of your own is found by its path, as
`--tuning.engine=my_package.Mine`. Environments themselves belong to their task family, in the room `tasks`.
"""

from pdt_lightning.rollouts.engine import RolloutEngine
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Outcome, Row, rollout

__all__ = ["Outcome", "Policy", "RolloutEngine", "Row", "rollout"]
