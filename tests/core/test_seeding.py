import subprocess
import sys

import numpy as np

from pdt_lightning.core.seeding import digest, generator, integer


def test_a_key_always_gives_the_same_numbers_in_any_process():
    code = "from pdt_lightning.core.seeding import integer; print(integer(3, 'batch', 5))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(seen) == integer(3, "batch", 5) == 1253524563


def test_every_part_of_the_key_counts():
    keys = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a"), (0, "a", "1"), (0, "a1")]
    assert len({digest(*key) for key in keys}) == len(keys)


def test_numpy_integers_are_integers():
    assert digest(0, "a", np.int64(4)) == digest(0, "a", 4)  # type: ignore[arg-type]


def test_rows_depend_on_their_position_alone():
    assert np.array_equal(generator(0, "u").random((8, 3))[:5], generator(0, "u").random((5, 3)))


def test_integers_are_valid_seeds():
    seeds = [integer(0, "x", n) for n in range(100)]
    assert min(seeds) >= 0
    assert max(seeds) < 2**31
    assert len(set(seeds)) == 100
