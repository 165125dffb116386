"""Plain values: what a checkpoint may hold, since it is read without running what is in it."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The same in Python's own numbers, strings, lists and dicts, however it is nested.

    What is none of these stays as it is.

    >>> plain({"rate": np.float64(0.1), "sizes": (np.int64(1), 2)})
    {'rate': 0.1, 'sizes': [1, 2]}
    """
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return os.fspath(value) if isinstance(value, os.PathLike) else value
