"""Configurations by name: those of `conf/` ship with the package, so that no checkout is needed to run them."""

from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile

from pdt_lightning.core.errors import NotFoundError, suggestion

PREFIX = "pdt_lightning:"
_PACKAGE = Path(__file__).parents[1]
# Within the installed package, or beside it in a checkout.
FOLDER = next((folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir()), _PACKAGE / "conf")


class ConfigurationFile(ActionConfigFile):
    """The option `--config`, which takes the name of a shipped configuration too."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Read the file that is meant."""
        super().__call__(parser, cfg, found(values), option_string)


def shipped() -> list[str]:
    """Names of the configurations that ship with the package."""
    return sorted(path.name for path in FOLDER.glob("*.yaml"))


def found(given: str) -> str:
    """The file that `--config` means: one that is there, else the shipped one of that name; YAML itself stays as it is.

    `pdt_lightning:` before the name means the shipped one, whatever is there.

    Raises:
        NotFoundError: listing the shipped names.

    >>> found("pdt_lightning:point.yaml") == str(FOLDER / "point.yaml")
    True
    """
    name = given.removeprefix(PREFIX)
    if name == given and Path(given).exists():
        return given
    names = shipped()
    if name in names:
        return str(FOLDER / name)
    if name == given and ":" in given and not given.endswith((".yaml", ".yml")):  # YAML itself
        return given
    raise NotFoundError(
        f"--config={given}: there is no such file. Give a path, or the name of a configuration that ships with the package: "
        f"{', '.join(names)}.{suggestion(Path(name).name, names)}"
    )
