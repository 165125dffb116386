"""Generators from (seed, purpose, ...): the only source of randomness in the package.

Every random draw comes from a generator that is a pure function of a seed and of what the draw is for. So nothing has
to be saved to resume, ranks can draw the same numbers without talking, and one use of randomness never shifts another.
"""

import hashlib

import numpy as np

Key = str | int


def digest(seed: int, *purpose: Key) -> bytes:
    """16 bytes that depend on every part of the key, alike on every machine (Python's own `hash` is salted)."""
    parts = [str(int(seed)), *(f"s{part}" if isinstance(part, str) else f"i{int(part)}" for part in purpose)]
    return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=16).digest()


def generator(seed: int, *purpose: Key) -> np.random.Generator:
    """A NumPy generator for one purpose, such as `generator(seed, "batch", update)`.

    Rows of one array drawn from it depend only on their own position: `random((n, c))[:m]` equals `random((m, c))`.

    >>> float(generator(0, "a", 1).random()) == float(generator(0, "a", 1).random())
    True
    >>> float(generator(0, "a", 1).random()) == float(generator(0, "a", 2).random())
    False
    """
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest(seed, *purpose), "little")))


def integer(seed: int, *purpose: Key) -> int:
    """A seed in [0, 2**31) for a generator that is not NumPy's: an environment's or torch's.

    >>> integer(0, "episode", 7) == integer(0, "episode", 7) != integer(0, "episode", 8)
    True
    """
    return int.from_bytes(digest(seed, *purpose)[:4], "little") >> 1
