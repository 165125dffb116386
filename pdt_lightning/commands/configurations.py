"""Configurations by name: those of `conf/` ship with the package, so that no checkout is needed to run them."""

from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile

from pdt_lightning.core.errors import NotFoundError, suggestion

PREFIX = "pdt_lightning:"
# Options that are mappings, and the option that says whose they are: of another one they begin anew. `tune` and
# `compare` have them without groups; what their family is, the checkpoint says.
MAPPINGS = {
    "data.family_options": "data.family",
    "tuning.tuner_options": "tuning.tuner",
    "model.transformer_options": "model.transformer",
    "family_options": "ckpt_path",
    "tuner_options": "tuner",
}
_PACKAGE = Path(__file__).parents[1]
# Within the installed package, or beside it in a checkout.
FOLDER = next(
    (folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir()), _PACKAGE / "conf"
)


class ConfigurationFile(ActionConfigFile):
    """The action behind `--config`, which takes the name of a shipped configuration too."""

    def __call__(self, parser: Any, cfg: Any, values: Any, option_string: str | None = None) -> None:
        """Read the file that is meant. Of an option that is a mapping it changes what it names, as flags do."""
        before = {option: cfg.get(option) for option in [*MAPPINGS, *MAPPINGS.values()]}
        super().__call__(parser, cfg, configuration_path(values), option_string)
        for option, of_whom in MAPPINGS.items():
            first, second = before[option], cfg.get(option)
            if isinstance(first, dict) and isinstance(second, dict) and cfg.get(of_whom) == before[of_whom]:
                cfg[option] = {**first, **second}


def shipped() -> list[str]:
    """List the names of the configurations that ship with the package."""
    return sorted(path.name for path in FOLDER.glob("*.yaml"))


def configuration_path(config: str) -> str:
    """Find the file that `--config` means: one that exists, or else the shipped one of that name.

    YAML itself stays as it is.

    `pdt_lightning:` before the name means the shipped one, whatever is there.

    Raises:
        NotFoundError: listing the shipped names.

    >>> configuration_path("pdt_lightning:point.yaml") == str(FOLDER / "point.yaml")
    True
    """
    name = config.removeprefix(PREFIX)
    if name == config and Path(config).exists():
        return config
    names = shipped()
    if name in names:
        return str(FOLDER / name)
    if name == config and ":" in config and not config.endswith((".yaml", ".yml")):  # YAML itself
        return config
    raise NotFoundError(
        f"--config={config}: there is no such file. Give a path, or the name of a configuration that ships with the "
        f"package: {', '.join(names)}.{suggestion(Path(name).name, names)}"
    )
