"""Guests: what an option names may be ours, an installed package's (by entry point), or any class of the user's (by its path)."""

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
    known = {entry.name: entry for entry in entry_points(group=group)}
    try:
        if name in known:
            found = known[name].load()
        elif "." in name:
            module, _, attribute = name.rpartition(".")
            found = getattr(importlib.import_module(module), attribute)
        else:
            names = [*ours, *sorted(known)]
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
        if not callable(found):
            raise UserError(f"{option}={name} is a {type(found).__name__}, which cannot be called. Name a function or a class.")
        return found
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"{option}={name} is not derived from {base.__module__}.{base.__name__}. Derive it, or name another class.")
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise UserError(f"{option}={name} lacks {', '.join(missing)}, which {base.__module__}.{base.__name__} asks for. Add them.")
    return found


def declared(made: Callable[..., Any], after: str) -> dict[str, inspect.Parameter]:
    """Options that something takes: its parameters after the one named, by name."""
    try:
        parameters = inspect.signature(made, eval_str=True).parameters
    except NameError:  # an annotation of what is imported for type checkers alone
        parameters = inspect.signature(made).parameters
    names = list(parameters)
    own = names[names.index(after) + 1 :] if after in names else names
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {name: parameters[name] for name in own if parameters[name].kind not in variable}


def checked(group: str, name: str, made: Callable[..., Any], after: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given for something, checked against its signature and brought to its types.

    Args:
        group: of the options, for messages, such as `tuning.tuner_options`.
        name: of what takes them, for messages.
        made: its constructor.
        after: the parameter after which its options begin.
        given: by the user.

    Raises:
        UserError: naming the option.
    """
    known = declared(made, after)
    if wrong := sorted(set(given) - set(known)):
        takes = f"It takes: {', '.join(known)}." if known else "It takes none."
        raise UserError(f"`{group}.{wrong[0]}` is not an option of {name}. {takes}{suggestion(wrong[0], known)}")
    parser = ArgumentParser(exit_on_error=False)
    for option, parameter in known.items():
        kind = Any if parameter.annotation is inspect.Parameter.empty else parameter.annotation
        if option in given:
            parser.add_argument(f"--{option}", type=kind)
    try:
        parsed = parser.parse_object(dict(given))
    except ArgumentError as error:
        raise UserError(explained(str(error), lambda option: f"`{group}.{option}`")) from error
    if missing := [option for option, parameter in known.items() if parameter.default is parameter.empty and option not in given]:
        raise UserError(f"`{group}.{missing[0]}` is missing: {name} needs it.")
    return {option: parsed[option] for option in given}
