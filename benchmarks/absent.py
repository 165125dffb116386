"""Packages that a machine lacks, such as Gymnasium on one without network: their names are there, and do nothing.

The package imports simulators and readers of data where what is measured needs neither; what does need them fails when
it is used, and is reported as left out.
"""

import importlib.util
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

# What the package uses besides torch, Lightning and NumPy.
OTHERS = (
    "gymnasium",
    "minari",
    "mujoco",
    "metaworld",
    "safetensors",
    "threadpoolctl",
    "jsonargparse",
    "omegaconf",
    "tensorboard",
    "rich",
    "matplotlib",
    "scipy",
    "PIL",
)


class _Nothing(type):
    """A class whose every attribute is one like it."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Nothing(name, (_Absent,), {})


class _Absent(Exception, metaclass=_Nothing):
    """May be derived from, called and subscripted."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given)

    def __class_getitem__(cls, item: Any) -> Any:
        return cls


class _Module(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(_Absent, name)


class _Finder(MetaPathFinder, Loader):
    def __init__(self, names: Sequence[str]):
        self.names = names

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] in self.names else None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


@contextmanager
def standing_in() -> Iterator[list[str]]:
    """While it lasts, what is missing can be imported; yields its names.

    Other libraries, imported before, do not see it.
    """
    import lightning  # noqa: F401
    import torch  # noqa: F401

    names = [name for name in OTHERS if name not in sys.modules and importlib.util.find_spec(name) is None]
    finder = _Finder(names)
    sys.meta_path.append(finder)
    try:
        yield names
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, module in sys.modules.items() if isinstance(module, _Module)]:
            del sys.modules[name]
