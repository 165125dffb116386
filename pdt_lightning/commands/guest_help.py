"""What `--help` says of what is named: the options of the family, the tuners and the transformer, ours or guests."""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from docstring_parser import parse
from jsonargparse import ArgumentParser

from pdt_lightning.comparison.plan import FINETUNE, tuner_names
from pdt_lightning.core.guests import declared
from pdt_lightning.model.guests import OPTIONS_AFTER, transformer_class
from pdt_lightning.tasks.base import family_class
from pdt_lightning.tuners import tuner_class

# A class, what takes its options, and the parameter after which they begin.
Taking = tuple[type, Callable[..., Any], str]


def _tuner(name: str) -> Taking:
    kind = tuner_class(name)
    return kind, *kind.takes_options()


def _transformer(name: str) -> Taking:
    kind = transformer_class(name)
    return kind, kind, OPTIONS_AFTER


def _family(name: str) -> Taking:
    kind = family_class(name)
    return kind, kind, "self"


# By the option that names a class, whose own options are in the option of that name with `_options` behind it.
NAMING: Mapping[str, Callable[[str], Taking]] = {
    "data.family": _family,
    "family": _family,
    "tuning.tuner": _tuner,
    "tuner": _tuner,
    "model.transformer": _transformer,
}
COMPARED = "tuners"  # the option of `compare`, of several tuners, each with its options behind it


def guest_help(config: Mapping[str, Any]) -> str:
    """Write the sections of `--help` about what is named: one for each class that has options.

    Args:
        config: what the arguments and their files say, with defaults.

    Raises:
        UserError: if a class cannot be found.
    """
    return "".join(_sections(config))


def _sections(config: Mapping[str, Any]) -> Iterator[str]:
    for option, find in NAMING.items():
        if config.get(option) is not None and f"{option}_options" in config:
            yield _section(f"--{option}={config[option]}", f"--{option}_options.", find(config[option]))
    compared = tuner_names(config[COMPARED]) if COMPARED in config else ()
    for name in dict.fromkeys(one.partition(":")[0] for one in compared if one != FINETUNE):
        yield _section(f"--{COMPARED}={name}:NAME=VALUE", "", _tuner(name))


def named_by(args: Sequence[str]) -> dict[str, Any]:
    """Find what arguments name, where the rest of them cannot be parsed."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for option in NAMING:
        finder.add_argument(f"--{option}", dest=option)
    finder.add_argument(f"--{COMPARED}", nargs="+")
    return vars(finder.parse_known_args(args)[0])


def _section(title: str, before: str, taking: Taking) -> str:
    """Write one section, as jsonargparse writes options.

    Args:
        title: what names the class.
        before: what stands before the name of an option, such as `--tuner_options.`.
        taking: what takes the options.
    """
    kind, takes, after = taking
    documented = [parse(base.__doc__ or "").params for base in reversed(kind.__mro__)]
    explained = {one.arg_name: one.description or "" for params in documented for one in params}
    parser = ArgumentParser(add_help=False, usage=argparse.SUPPRESS)
    group = parser.add_argument_group(f"Options of {title}")
    parameters = declared(takes, after)
    for parameter in parameters.values():
        typed = Any if parameter.annotation is parameter.empty else parameter.annotation
        default = {"required": True} if parameter.default is parameter.empty else {"default": parameter.default}
        flag = f"{before or '--'}{parameter.name}"
        group.add_argument(flag, type=typed, help=explained.get(parameter.name, "").replace("%", "%%"), **default)
    shown = parser.format_help().strip()
    if not before:
        shown = shown.replace("\n  --", "\n  ")
    return f"\n{shown}\n" if parameters else ""
