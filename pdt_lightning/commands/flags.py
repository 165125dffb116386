"""Options as a command has them.

The library's messages name them by their fields, in backticks, and know nothing of flags.
"""

import re
from collections.abc import Callable, Mapping

# By the field's name, what the command calls it; what ends with a point is a group. A field that a command has no
# option for stays as it is.
FIT = {name: f"--{name}" for name in ("data.", "model.", "tuning.", "trainer.", "ckpt_path", "init_from")}
TUNE = {"tuning.": "--", "data.family_options": "--family_options", "ckpt_path": "--ckpt_path"}
COMPARE = {**TUNE, "comparison.": "--"}
COLLECT = {"data.family_options": "--family_options", "data.family": "family"}


def flags_of(names: Mapping[str, str]) -> Callable[[str], str]:
    """Make a function that writes the options in a message of the library's as this command's flags.

    >>> flags_of(TUNE)("`tuning.rounds`=-1: it has to be at least 0.")
    '--rounds=-1: it has to be at least 0.'
    >>> flags_of(FIT)("`data.family_options.horizon`=0; see `num_nodes`")
    '--data.family_options.horizon=0; see `num_nodes`'
    """

    def flag(found: re.Match) -> str:
        name = found[1]
        for field, option in names.items():
            if name == field or name.startswith(field if field.endswith(".") else f"{field}."):
                return option + name.removeprefix(field)
        return found[0]

    return lambda message: re.sub(r"`([\w.]+)`", flag, message)
