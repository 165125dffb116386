"""What demonstrations depend on beside numbers.

That is the code of expert and environment, and the versions of the packages that they use.

Code is followed by name through the modules of one folder, as text, so that it is told alike on all machines. What lies
outside of the folder is known by the versions of the packages that simulate.
"""

import ast
import functools
import hashlib
import inspect
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator

from pdt_lightning.tasks import specifications

# Distributions whose versions decide what an environment does, by the packages that they bring.
SIMULATORS = {
    "gymnasium": "gymnasium",
    "gymnasium_robotics": "gymnasium-robotics",
    "metaworld": "metaworld",
    "mujoco": "mujoco",
    "dm_control": "dm-control",
    "pybullet": "pybullet",
    "Box2D": "box2d",
}
Layout = tuple[dict[str, tuple[str, frozenset[str], frozenset[str]]], dict[str, str]]


def identity_of(made: Any) -> tuple[str, ...]:
    """A digest of the code of a function, a class or an object's class, and `package version` of what it stands on.

    That is every simulator that it uses, and of a class the packages that it and its bases come from. An object's own
    `mark`, such as the digest of its weights, and the plain values that a function closes over count too.
    """
    kind: Any = made if inspect.isfunction(made) or inspect.isclass(made) else getattr(made, "func", type(made))
    text, versions = _code_and_versions(kind)
    closed = [cell.cell_contents for cell in getattr(made, "__closure__", None) or ()]
    closed += (
        [*getattr(made, "args", ()), *sorted(getattr(made, "keywords", {}).items())] if hasattr(made, "func") else []
    )
    values = [
        getattr(made, "mark", ""),
        *(value for value in closed if isinstance(value, str | int | float | bool | tuple)),
    ]
    return hashlib.blake2b("\x1f".join([*map(str, values), text]).encode(), digest_size=8).hexdigest(), *versions


@functools.lru_cache(maxsize=1024)
def _code_and_versions(kind: Any) -> tuple[str, tuple[str, ...]]:
    code = _Code(kind.__module__)
    code.add(kind.__module__, kind.__qualname__.split(".")[0], kind)
    bases = [part.__module__ for part in inspect.getmro(kind)[:-1]] if inspect.isclass(kind) else []
    names = {name for base in bases for name in _distributions(base.split(".")[0])}
    packages = code.packages.union(*map(_packages_in, bases))
    return "\x1f".join(sorted(code.parts)), tuple(_versions(packages, names))


@functools.cache
def _distributions(package: str) -> tuple[str, ...]:
    """That brought a package; not ours, whose code counts by itself."""
    return () if package == __name__.split(".")[0] else tuple(metadata.packages_distributions().get(package, ()))


def identity_of_environment(env_id: str | EnvSpec) -> tuple[str, ...]:
    """The same of what makes an environment; nothing of one that cannot be imported here, where none can be made."""
    try:
        made = (specifications.find(env_id) if isinstance(env_id, str) else env_id).entry_point
        return identity_of(load_env_creator(made) if isinstance(made, str) else made)
    except (gym.error.Error, ImportError, AttributeError):
        return ()


def _versions(packages: set[str], distributions: set[str]) -> Iterator[str]:
    """Of distributions, of the simulators among the packages, and of those that they need themselves."""
    names = distributions | {SIMULATORS[package] for package in packages if package in SIMULATORS}
    for name in sorted(names.union(*map(_needed, names))):
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue


def _needed(distribution: str) -> Iterator[str]:
    try:
        lines = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return
    for line in lines:
        known = [name for name in SIMULATORS.values() if line.lower().startswith(name) and "extra" not in line]
        yield from known[:1]


def _packages_in(module: str) -> set[str]:
    """Packages whose modules a module holds by name, and its own."""
    held = [value.__name__ for value in vars(sys.modules.get(module, ast)).values() if inspect.ismodule(value)]
    return {name.split(".")[0] for name in (module, *held)}


class _Code:
    """Texts of what is defined at the top of modules in one folder, each with all that it names there.

    Args:
        module: in the folder.
    """

    def __init__(self, module: str):
        self.folder = module.rpartition(".")[0] or module
        self.parts: set[str] = set()
        self.packages: set[str] = set()

    def add(self, module: str, name: str, made: Any = None) -> None:
        """Add what a module calls `name`; what cannot be found as text, by its compiled code."""
        definitions, imported = _layout(module)
        if name in imported:
            origin, _, own = imported[name].rpartition(":")
            if origin.startswith(self.folder) and origin != module:
                self.add(origin, own or name)
            else:
                self.packages.add((origin or own).split(".")[0])
        elif name in definitions:
            text, names, packages = definitions[name]
            if text not in self.parts:
                self.parts.add(text)
                self.packages |= packages
                for other in names:
                    self.add(module, other)
        elif made is not None:
            self.parts.add(_compiled(made))


def _compiled(made: Any) -> str:
    code = getattr(made, "__code__", made)
    if not inspect.iscode(code):
        return "".join(_compiled(part) for _, part in sorted(vars(made).items()) if inspect.isfunction(part))
    return repr(
        (code.co_code, code.co_names, [_compiled(part) if inspect.iscode(part) else part for part in code.co_consts])
    )


def _layout(module: str) -> Layout:
    """What a module has at its top, by name.

    Of a definition it is the text, names and imports; of an import, `module:name`.
    """
    try:
        return _parsed(module, inspect.getsource(sys.modules[module]))
    except (KeyError, OSError, TypeError):
        return {}, {}


@functools.lru_cache(maxsize=256)
def _parsed(module: str, source: str) -> Layout:
    definitions, imported = dict[str, tuple[str, frozenset[str], frozenset[str]]](), dict[str, str]()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            imported |= {(part.asname or part.name.split(".")[0]): f":{part.name}" for part in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            full = (
                origin
                if not node.level
                else ".".join([*module.split(".")[: -node.level], node.module or ""]).rstrip(".")
            )
            imported |= {(part.asname or part.name): f"{full}:{part.name}" for part in node.names}
        else:
            inside = list(ast.walk(node))
            names = frozenset(part.id for part in inside if isinstance(part, ast.Name))
            packages = {
                part.module.split(".")[0] for part in inside if isinstance(part, ast.ImportFrom) and part.module
            }
            packages |= {
                own.name.split(".")[0] for part in inside if isinstance(part, ast.Import) for own in part.names
            }
            text = ast.get_source_segment(source, node) or ""
            targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
            called = [own.id for target in targets for own in ast.walk(target) if isinstance(own, ast.Name)]
            for name in [*called, *([node.name] if hasattr(node, "name") else [])]:
                definitions[name] = (text, names - {name}, frozenset(packages))
    return definitions, imported
