"""What an environment says of success.

One rule of reading it serves episodes that are played and those that were recorded.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

KEYS = ("success", "is_success")  # of an info, the first that reports anything


def of_step(info: Mapping[str, Any]) -> float | None:
    """Success that one step's info reports, from 0 to 1; None where it reports none.

    A number or truth value, NumPy's too, reports; NaN, None and what is no single number do not. Below 0 is 0, above 1
    is 1.

    >>> of_step({"success": True}), of_step({"is_success": np.float32(0.5)})
    (1.0, 0.5)
    >>> of_step({"success": float("nan")}), of_step({})
    (None, None)
    """
    for key in KEYS:
        if key in info:
            values = _numbers(info[key])
            if values.size == 1 and not np.isnan(values).any():
                return float(values.item())
    return None


def of_steps(infos: Mapping[str, Any], steps: int) -> np.ndarray:
    """`(steps,)` success at each step of a recorded episode, by the same rule; NaN where none is reported.

    Args:
        infos: for each key, an entry a step, as Minari keeps them; what stands before the first step may come first.
        steps: of the episode.

    >>> of_steps({"success": np.array([False, False, True])}, 2)
    array([0., 1.])
    """
    seen = np.full(steps, np.nan)
    for key in KEYS:
        values = _numbers(infos.get(key))
        if values.size in (steps, steps + 1):
            seen = np.where(np.isnan(seen), values.reshape(-1)[-steps:], seen)
    return seen


def highest_and_last(steps: np.ndarray) -> tuple[float | None, float | None]:
    """Of an episode: the highest success of all steps, and that of the last one; None where none is reported.

    >>> highest_and_last(np.array([0.0, 1.0, np.nan, 0.0]))
    (1.0, 0.0)
    """
    known = steps[~np.isnan(steps)]  # also of no step at all
    return (float(known.max()), None if np.isnan(steps[-1]) else float(steps[-1])) if len(known) else (None, None)


def _numbers(value: Any) -> np.ndarray:
    """As floats from 0 to 1; NaN for what is no number."""
    try:
        values = np.asarray(value if value is not None else np.nan, np.float64)
    except (TypeError, ValueError):
        return np.array(np.nan)
    return np.clip(np.where(np.isfinite(values), values, np.nan), 0.0, 1.0)
