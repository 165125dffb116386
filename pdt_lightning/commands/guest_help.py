"""What `--help` says of guests: the options of the tuner and the transformer that the arguments or their files name."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from docstring_parser import parse
from jsonargparse import ArgumentParser

from pdt_lightning.core.guests import declared
from pdt_lightning.model.guests import OPTIONS_AFTER, transformer_class
from pdt_lightning.tuners import tuner_class

# A class, what takes its options, and the parameter after which they begin.
Taking = tuple[type, Callable[..., Any], str]


def _tuner(name: str) -> Taking:
    kind = tuner_class(name)
    return kind, *kind.takes_options()


def _transformer(name: str) -> Taking:
    kind = transformer_class(name)
    return kind, kind, OPTIONS_AFTER


# By the option that names a guest.
GUESTS: Mapping[str, Callable[[str], Taking]] = {
    "tuning.tuner": _tuner,
    "tuner": _tuner,
    "model.transformer": _transformer,
}


def guest_help(config: Mapping[str, Any]) -> str:
    """Write the sections of `--help` about guests: one for each that a configuration names and that has options.

    Args:
        config: what the arguments and their files say, with defaults.

    Raises:
        UserError: if a guest cannot be found.
    """
    return "".join(
        _section(option, config[option], find(config[option])) for option, find in GUESTS.items() if option in config
    )


def named_by(args: Sequence[str]) -> dict[str, str]:
    """Find the guests that arguments name, where the rest of them cannot be parsed."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    for option in GUESTS:
        finder.add_argument(f"--{option}", dest=option)
    return vars(finder.parse_known_args(args)[0])


def _section(option: str, name: str, taking: Taking) -> str:
    """Write one section, as jsonargparse writes options."""
    kind, takes, after = taking
    explained = {one.arg_name: one.description or "" for one in parse(kind.__doc__ or "").params}
    parser = ArgumentParser(add_help=False, usage=argparse.SUPPRESS)
    group = parser.add_argument_group(f"Options of --{option}={name}")
    parameters = declared(takes, after)
    for parameter in parameters.values():
        typed = Any if parameter.annotation is parameter.empty else parameter.annotation
        default = {"required": True} if parameter.default is parameter.empty else {"default": parameter.default}
        flag = f"--{option}_options.{parameter.name}"
        group.add_argument(flag, type=typed, help=explained.get(parameter.name, "").replace("%", "%%"), **default)
    return f"\n{parser.format_help().strip()}\n" if parameters else ""
