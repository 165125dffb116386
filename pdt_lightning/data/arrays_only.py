"""Pickles of NumPy arrays and plain values, whoever made them: nothing that they name is run.

NumPy's own callables are not for a stranger's file: called with what the file says, they read memory that is not
theirs. So every name stands for a class of ours that keeps bytes, and of the bytes arrays are made here. None is a
function, whose defaults a file could set, and all have a `__setstate__`, without which a file could set attributes of
the class.
"""

import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np

from pdt_lightning.core.errors import UserError

KINDS = ("f4", "f8", "b1", "i8", "u1")


class Refused(Exception):
    """Something that a file must not hold; says what."""


class StandIn:
    """What a name in a file stands for; has no state and takes no arguments unless a subclass says so."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise Refused(f"a state for {type(self).__name__}")


class Ndarray(StandIn):
    """`numpy.ndarray`, a name that others take."""

    __slots__ = ()


class Kind(StandIn):
    """`numpy.dtype`, of numbers.

    Args:
        code: as NumPy has it, such as `f4`.
        *_: of no account.
    """

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any):
        if not isinstance(code, str) or code.lstrip("<>=|") not in KINDS:
            raise Refused(f"arrays of {code if isinstance(code, str) else 'a structure'}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class Array(StandIn):
    """An array, as `values` once the file has said what is in it."""

    __slots__ = ("values",)
    values: np.ndarray

    def fill(self, raw: Any, kind: Any, shape: Any, order: Any) -> None:
        """Take the values from bytes that hold exactly so many."""
        if type(kind) is not Kind or not isinstance(raw, bytes | bytearray):
            raise Refused("arrays of something else than numbers")
        self.values = np.frombuffer(raw, kind.dtype).reshape(shape, order=order)


class Reconstruct(Array):
    """`numpy.core.multiarray._reconstruct`: an empty array, filled by its state."""

    __slots__ = ()

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, raw = state
        self.fill(raw.encode("latin1") if isinstance(raw, str) else raw, kind, shape, "F" if fortran else "C")


class Frombuffer(Array):
    """`numpy.core.numeric._frombuffer`: an array of protocol 5."""

    __slots__ = ()

    def __init__(self, raw: Any, kind: Any, shape: Any, order: Any):
        self.fill(raw, kind, shape, order)


class Encode(bytes, StandIn):
    """`_codecs.encode`: bytes, in old protocols."""

    __slots__ = ()

    def __new__(cls, text: str, _: str) -> "Encode":
        """Of a text with a character for each byte."""
        return super().__new__(cls, text.encode("latin1"))


# What NumPy rebuilds arrays with, by the names that its versions have used.
NAMES: dict[tuple[str, str], type] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): Frombuffer for core in ("core", "_core")},
    ("numpy", "ndarray"): Ndarray,
    ("numpy", "dtype"): Kind,
    ("_codecs", "encode"): Encode,
}


class ArraysOnly(pickle.Unpickler):
    """Gives an `Array` for each array; whatever else a pickle names is refused before it is looked up."""

    def __init__(self, path: Path, file: Any):
        super().__init__(file, encoding="latin1")  # arrays of Python 2
        self.path = path

    def find_class(self, module: str, name: str) -> type:
        """What stands for a name, or the error that says what was named."""
        if (module, name) not in NAMES:
            raise UserError(
                f"{self.path} names {module}.{name}, but demonstrations need NumPy arrays only. Nothing of it was run; "
                "do not use this file."
            )
        return NAMES[module, name]


def _check_memo(file: Any, size: int) -> None:
    """Refuse places in the memo that no file of `size` bytes has use for.

    The unpickler takes memory for all that lie before them.
    """
    for opcode, place, _ in pickletools.genops(file):
        if opcode.name in ("PUT", "LONG_BINPUT") and (place or 0) > size:
            raise Refused(f"a memo of {place:,} places")


def load(path: Path) -> Any:
    """What a file holds, with an `Array` for each array.

    Raises:
        UserError: if it is not whole, or holds anything but arrays of numbers and plain values.
    """
    try:
        with path.open("rb") as file:
            _check_memo(file, path.stat().st_size)
            file.seek(0)
            return ArraysOnly(path, file).load()
    except UserError:
        raise
    except Refused as error:
        raise UserError(
            f"{path} holds {error}, where demonstrations are arrays of float32 or float64. Nothing of it was run. Mend "
            "it, or leave it out."
        ) from error
    except Exception as error:  # pickles break in many ways
        raise UserError(
            f"{path} is not the whole of a pickle: {error or type(error).__name__}. Fetch it again."
        ) from error
