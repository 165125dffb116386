"""What is tried: a frozen model with a prompt plays episodes, and says what came of them.

`rollout.py` plays rows of (task, prompt, seed) in the environments that `environment_cache.py` lends, and `pool.py`
plays them in worker processes. `workers.py` notices that a worker died or hangs, and `pool.py` decides what becomes of
its episodes. `failures.py` only says what an episode that failed counts as.

To add a way to play, such as a simulator that steps many episodes at once, write a class in a file beside `pool.py`
with the methods and attributes of `RolloutPool`: `with_policy`, which gives a function from a list of `Row` to a list
of `Outcome`, `report`, `close`, `width` and `faults`. Make it where a `RolloutPool` is made now: in
`callbacks/prompt_tuning.py`, `tune.py`, `transfer.py` and `comparison/work.py`. Environments themselves belong to their
task family, in the room `tasks`.
"""

from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Outcome, Row, rollout

__all__ = ["Outcome", "Policy", "Row", "rollout"]
