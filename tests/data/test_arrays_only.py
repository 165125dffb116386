"""Hostile files are read in a process of their own, since what they are after is a crash."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from pdt_lightning.core.errors import UserError
from pdt_lightning.data import arrays_only

PLAIN = np.random.default_rng(0).normal(size=(6, 8))
ARRAYS = {
    "C": PLAIN,
    "Fortran": np.asfortranarray(PLAIN),
    "strided": PLAIN[::2, ::-3],
    "float32": PLAIN.astype(np.float32).T,
    "big-endian": PLAIN.astype(">f4"),
    "bool": PLAIN > 0,
    "int64": (9 * PLAIN).astype(int),
}


class Made:
    """Pickles as what it is told; nothing is called on the way."""

    def __init__(self, *parts):
        self.parts = parts

    def __reduce__(self):
        return self.parts


def built(module, name, state):
    """A file that sets the state of what it names: attributes, where that is a function or a class."""
    return f"c{module}\n{name}\n".encode() + pickle.dumps(state, 2)[2:-1] + b"b."


def array(shape, dtype, *rest):
    return Made(np.ndarray, (shape, dtype, *rest))


HUGE = 10**12
FIELDS = {"a": (np.dtype("O"), 0), "b": (np.dtype("O"), 8)}
STRUCTURE = Made(np.dtype, ("V16", False, True), (3, "|", None, ("a", "b"), FIELDS, 16, 1, 0))
HOSTILE = {
    "a shape of pointers": pickle.dumps(array(array((2,), np.dtype("O"), b"A" * 16), np.dtype("f8"))),
    "a structure that denies its objects": pickle.dumps(array((1,), STRUCTURE, b"A" * 16)),
    "a structure": pickle.dumps(STRUCTURE),
    "objects": pickle.dumps(np.array([None, "a"])),
    "objects of protocol 5": pickle.dumps(np.array([None, "a"]), 5),
    "objects from bytes": pickle.dumps(Made(PLAIN.__reduce_ex__(5)[0], (b"A" * 16, np.dtype("O"), (2,), "C")), 5),
    "objects as a state": pickle.dumps(
        Made(PLAIN.__reduce__()[0], (np.ndarray, (0,), b"b"), (1, (2,), np.dtype("O"), False, b"A" * 16))
    ),
    "too large": pickle.dumps(array((HUGE,), np.dtype("f8"))),
    "no strides": pickle.dumps(array((HUGE,), np.dtype("f8"), b"A" * 8, 0, (0,))),
    "a large memo": b"]r\xfe\xff\xff\xff.",
    "a large memo of protocol 0": b"]p4294967294\n.",
    "a large state": pickle.dumps(
        Made(PLAIN.__reduce__()[0], (np.ndarray, (HUGE,), b"b"), (1, (HUGE,), np.dtype("f8"), False, b"A" * 8))
    ),
    "a dtype for a buffer": pickle.dumps(
        Made(PLAIN.__reduce_ex__(5)[0], (np.dtype("f8"), np.dtype("f8"), (2,), "C")), 5
    ),
    "defaults of a function": built("numpy._core.numeric", "_frombuffer", (None, {"__defaults__": (1,)})),
    "names of a function": built("numpy.core.multiarray", "_reconstruct", {"__defaults__": (1,)}),
    **{
        f"attributes of {name}": built(module, name, (None, {"__setstate__": None, "fill": None, "dtype": None}))
        for module, name in arrays_only.NAMES
    },
}
# Says which file it is at, in case it gets no further.
READING = """
import sys
from pathlib import Path
import numpy as np
from pdt_lightning.data.arrays_only import KINDS, NAMES, load
from pdt_lightning.core.errors import UserError

function = np.zeros(1).__reduce_ex__(5)[0]
before = function.__defaults__, [dict(vars(one)) for one in NAMES.values()]
for path in map(Path, sys.argv[1:]):
    print(path.name, flush=True)
    try:
        load(path)
        print("was read")
    except UserError as error:
        assert str(path) in str(error)
assert before == (function.__defaults__, [dict(vars(one)) for one in NAMES.values()])
print("unharmed")
"""


def read(path, content):
    path.write_bytes(content)
    return arrays_only.load(path)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_are_what_they_were(tmp_path, kind, protocol):
    [back] = read(tmp_path / "file", pickle.dumps([ARRAYS[kind]], protocol))
    assert back.values.dtype == ARRAYS[kind].dtype
    assert np.array_equal(back.values, ARRAYS[kind])


def test_hostile_files_are_refused_and_change_nothing(tmp_path):
    names = [f"{number:02d} {what}" for number, what in enumerate(HOSTILE)]
    for name, content in zip(names, HOSTILE.values(), strict=True):
        (tmp_path / name).write_bytes(content)
    command = [sys.executable, "-c", READING, *(str(tmp_path / name) for name in names)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.stdout.splitlines() == [*names, "unharmed"], ran.stderr
    assert ran.returncode == 0


OTHERS = {
    "f2": np.zeros(3, np.float16),
    "f16": Made(np.dtype, ("f16", False, True)),
    "i4": np.zeros(3, np.int32),
    "V8": np.zeros(3, "V8"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_kinds_of_numbers_are_named(tmp_path, kind):
    with pytest.raises(
        UserError, match=f"holds arrays of {kind}, where demonstrations are arrays of float32 or float64"
    ):
        read(tmp_path / "file", pickle.dumps(OTHERS[kind]))
