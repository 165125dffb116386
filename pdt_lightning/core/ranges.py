"""Options by their types: numbers with a range, as `--help` shows them; and the check of what Python passes.

On the command line jsonargparse checks annotations before anything is built. Python checks none, so that constructors
call `check_types`, which raises the same messages.
"""

import math
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from jsonargparse.typing import register_type

from pdt_lightning.core.errors import UserError, check_choice, check_range, out_of_range


def number(
    kind: type[int] | type[float],
    least: float = -math.inf,
    most: float = math.inf,
    above: bool = False,
    below: bool = False,
) -> Any:
    """The type of numbers in a range; values of it are plain numbers.

    Args:
        kind: `int` or `float`.
        least: the smallest value.
        most: the largest one.
        above: whether values lie above `least` instead.
        below: whether they lie below `most` instead.

    >>> number(int, 1, 10_000).__name__, number(float, 0, 1, above=True).__name__, number(int, 0).__name__
    ('1<=int<=10_000', '0<float<=1', 'int>=0')
    """
    name = kind.__name__
    if most < math.inf:
        name = f"{least:_}{'<' if above else '<='}{name}{'<' if below else '<='}{most:_}"
    elif least > -math.inf:
        name = f"{name}{'>' if above else '>='}{least:_}"
    limits = (least, most, above, below)

    def read(given: Any) -> int | float:
        """Raises what jsonargparse puts behind the option's name."""
        value = given
        if isinstance(given, str):
            with suppress(ValueError):
                value = kind(given.replace(".nan", "nan").replace(".inf", "inf"))
        if isinstance(value, bool) or not isinstance(value, int if kind is int else int | float):
            raise ValueError(f"={given}: it has to be {'a whole number (int)' if kind is int else 'a number (float)'}.")
        if problem := out_of_range(value, *limits):
            raise ValueError(f"={given}: {problem}")
        return kind(value)

    def fits(value: Any, _: type) -> bool:
        return type(value) is kind and not out_of_range(value, *limits)

    # Not derived through jsonargparse's own `restricted_number_type`, whose values are of the class that is made here,
    # which no checkpoint could hold.
    annotation = type(name, (kind,), {"limits": limits})
    register_type(annotation, kind, read, type_check=fits)
    return annotation


if TYPE_CHECKING:  # a type checker sees what the values are
    PositiveInt = int
    NonNegativeInt = int
    PositiveFloat = float
    NonNegativeFloat = float
    Probability = float
else:
    PositiveInt = number(int, 1)
    NonNegativeInt = number(int, 0)
    PositiveFloat = number(float, 0, above=True)
    NonNegativeFloat = number(float, 0)
    Probability = number(float, 0, 1)


def check_types(group: str, owner: Callable[..., Any], values: Mapping[str, Any]) -> None:
    """Refuse values that are not in the ranges and choices that the annotations of an object's options name.

    Args:
        group: of the options, such as `data`.
        owner: a class, or its constructor, with annotations.
        values: by option; others are passed over.

    Raises:
        UserError: naming the option.

    >>> def made(rate: PositiveInt | None = None, shape: Literal["round", "square"] = "round"): ...
    >>> check_types("data", made, {"rate": None, "shape": "rond"})
    Traceback (most recent call last):
    pdt_lightning.core.errors.UserError: `data.shape`=rond: choose one of round, square. Did you mean round?
    >>> check_types("data", made, {"shape": None})
    Traceback (most recent call last):
    pdt_lightning.core.errors.UserError: `data.shape`=None: it needs a value. Leave it out for the default.
    """
    for name, annotation in get_type_hints(owner).items():
        if name not in values:
            continue
        parts = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
        if values[name] is None and type(None) not in parts and Any not in parts:
            raise UserError(f"`{group}.{name}`=None: it needs a value. Leave it out for the default.")
        if values[name] is None or str in parts:  # which a guest may be named by
            continue
        for part in parts:
            if get_origin(part) is Literal:
                check_choice(f"`{group}.{name}`", values[name], get_args(part))
            elif limits := getattr(part, "limits", None):
                check_range(f"`{group}.{name}`", values[name], *limits)
