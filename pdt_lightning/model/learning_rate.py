"""The learning rate over a run: it rises in a warm-up, then stays or falls along a cosine."""

import math
from typing import Any


def factor(update: int, warmup: int, total: float | None) -> float:
    """What the learning rate is multiplied by.

    Args:
        update: its number, from 0.
        warmup: updates over which the factor rises to 1.
        total: updates of the run, at whose end a cosine has brought it down to 0; None: it stays 1.

    >>> [factor(update, warmup=2, total=None) for update in range(4)]
    [0.5, 1.0, 1.0, 1.0]
    >>> factor(6, warmup=2, total=10)
    0.5
    """
    if total is None or update < warmup:
        return min(1.0, (update + 1) / max(1, warmup))
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (update - warmup) / max(1.0, total - warmup)))


def begin_with(scheduler: Any, rate: float) -> None:
    """Go on by the same schedule from another learning rate.

    Args:
        scheduler: torch's `LambdaLR`.
        rate: the new one, after the warm-up.
    """
    for place, group in enumerate(scheduler.optimizer.param_groups):
        scheduler.base_lrs[place] = group["initial_lr"] = rate
        group["lr"] = rate * scheduler.lr_lambdas[place](scheduler.last_epoch)
