"""What is known of a task before any rollout, for tuners of every kind."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outlook:
    """What is known of a task's outcomes before any rollout, in their unit.

    Args:
        worst: value of a lost episode: a rollout that failed counts as no better.
        demonstrated: value of the best demonstrations; NaN where it is unknown.
        size: what a large difference is: 1 for success; of returns, as much as is demonstrated.
    """

    worst: float = float("inf")
    demonstrated: float = float("nan")
    size: float = 1.0
