"""What an episode that could not be played counts as, wherever outcomes are counted.

It counts as the worst outcome known of the task.
"""

import math
from collections.abc import Iterable, Sequence


def counted(values: Sequence[float | None], known: Iterable[float] = ()) -> list[float]:
    """Values with a number for each None, an episode that failed: the lowest of the others and of `known`.

    Args:
        values: of episodes, more is better.
        known: what else is known of the task: other episodes, its demonstrations; infinity stands for nothing.

    Returns:
        As many values; 0 for the failed ones where nothing is known.

    >>> counted([3.0, None, 7.0]), counted([3.0, None], known=[-1.0])
    ([3.0, 3.0, 7.0], [3.0, -1.0])
    """
    worst = min([*(value for value in values if value is not None), *known], default=math.inf)
    return [(worst if math.isfinite(worst) else 0.0) if value is None else value for value in values]
