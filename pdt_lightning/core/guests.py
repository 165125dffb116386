"""Guests: what an option names may be ours, an installed package's, or any class of the user's.

A package's is found by its entry point, and a user's class by its path.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from pdt_lightning.core.errors import UserError, explained, suggestion


def find(option: str, name: str, ours: Mapping[str, Any], group: str, base: type | None = None) -> Any:
    """What is called `name`.

    Args:
        option: that the user gave it by, for messages.
        name: one of `ours`; an entry point of the group; or a class path, such as `my_package.tuners.Mine`.
        ours: by name.
        group: of entry points, such as `pdt_lightning.tuners`.
        base: what it has to be derived from; None: anything that can be called.

    Raises:
        UserError: if there is no such thing, it cannot be imported, or it is no such class; it says what is missing.

    >>> find("`tuning.tuner`", "collections.OrderedDict", {}, "pdt_lightning.tuners", dict)
    <class 'collections.OrderedDict'>
    """
    if name in ours:
        return ours[name]
    entries = {entry.name: entry for entry in entry_points(group=group)}
    try:
        if name in entries:
            guest = entries[name].load()
        elif "." in name:
            module, _, attribute = name.rpartition(".")
            guest = getattr(importlib.import_module(module), attribute)
        else:
            names = [*ours, *sorted(entries)]
            raise UserError(
                f"{option}={name}: choose one of {', '.join(names)}, or give the path of a class, such as "
                f"my_package.Mine.{suggestion(name, names)}"
            )
    except UserError:
        raise
    except Exception as error:  # a module of the user's may raise anything when it is imported
        raise UserError(
            f"{option}={name} cannot be imported: {type(error).__name__}: {error}. Mend it, or correct the path."
        ) from error
    if base is None:
        if not callable(guest):
            raise UserError(
                f"{option}={name} is a {type(guest).__name__}, which cannot be called. Name a function or a class."
            )
        return guest
    if not (isinstance(guest, type) and issubclass(guest, base)):
        raise UserError(
            f"{option}={name} is not derived from {base.__module__}.{base.__name__}. Derive it, or name another class."
        )
    if missing := sorted(getattr(guest, "__abstractmethods__", ())):
        raise UserError(
            f"{option}={name} lacks {', '.join(missing)}, which {base.__module__}.{base.__name__} asks for. Add them."
        )
    return guest


def declared(constructor: Callable[..., Any], after: str) -> dict[str, inspect.Parameter]:
    """Options that something takes: its parameters after the one named, by name."""
    try:
        parameters = inspect.signature(constructor, eval_str=True).parameters
    except NameError:  # an annotation of what is imported for type checkers alone
        parameters = inspect.signature(constructor).parameters
    names = list(parameters)
    options = names[names.index(after) + 1 :] if after in names else names
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: parameters[name] for name in options if parameters[name].kind not in variable}


def checked(
    group: str, name: str, constructor: Callable[..., Any], after: str, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The options of something, checked against its signature and brought to its types.

    Args:
        group: of the options, for messages, such as `tuning.tuner_options`.
        name: of the class, for messages.
        constructor: what takes them.
        after: the parameter after which its options begin.
        options: as the user gave them.

    Raises:
        UserError: naming the option.
    """
    parameters = declared(constructor, after)
    if wrong := sorted(set(options) - set(parameters)):
        takes = f"It takes: {', '.join(parameters)}." if parameters else "It takes none."
        raise UserError(f"`{group}.{wrong[0]}` is not an option of {name}. {takes}{suggestion(wrong[0], parameters)}")
    if missing := [
        option
        for option, parameter in parameters.items()
        if parameter.default is parameter.empty and option not in options
    ]:
        raise UserError(f"`{group}.{missing[0]}` is missing: {name} needs it.")
    if not options:
        return {}
    parser = ArgumentParser(exit_on_error=False)
    for option, parameter in parameters.items():
        kind = Any if parameter.annotation is inspect.Parameter.empty else parameter.annotation
        if option in options:
            parser.add_argument(f"--{option}", type=kind)
    try:
        parsed = parser.parse_object(dict(options))
    except ArgumentError as error:
        raise UserError(explained(str(error), lambda option: f"`{group}.{option}`")) from error
    return {option: parsed[option] for option in options}
