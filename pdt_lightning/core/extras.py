"""Packages that not everybody needs.

One that is missing, or cannot be imported, is the user's to mend, and named with the way.
"""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from pdt_lightning.core.errors import UserError

# The extra of ours that brings a package. Gymnasium's MuJoCo environments import the last two to draw.
EXTRAS = {
    "metaworld": "metaworld",
    "stable_baselines3": "experts",
    "mujoco": "mujoco",
    "imageio": "mujoco",
    "glfw": "mujoco",
}


@contextmanager
def extras_for(what: str, otherwise: str = "") -> Iterator[None]:
    """Around an import: what goes wrong for want of an extra, or of MuJoCo's renderer, is raised as the user's error.

    Args:
        what: needs the import, such as `` `data.family`=metaworld ``.
        otherwise: another way out than to install the extra, as the end of a sentence.

    Raises:
        UserError: naming the command that installs the extra, or `MUJOCO_GL`. All other exceptions pass.
    """
    try:
        yield
    except Exception as error:
        for cause in _chain(error):
            name = (cause.name or "").partition(".")[0] if isinstance(cause, ModuleNotFoundError) else ""
            if extra := EXTRAS.get(name):
                raise UserError(
                    f"{what} needs {name}, which is not installed. Install it with pip install "
                    f"'pdt-lightning[{extra}]'{otherwise}."
                ) from error
        if any(_chooses_a_renderer(cause) for cause in _chain(error)):
            raise UserError(
                f"MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}: {what} needs MuJoCo, which cannot be imported with it: "
                f"{type(error).__name__}: {error}. python -m pdt_lightning.info tells which renderers work here; set "
                "MUJOCO_GL to one of them, or unset it where nothing is drawn."
            ) from error
        raise


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, and those that it was raised from."""
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ or at.__context__


def _chooses_a_renderer(error: BaseException) -> bool:
    """Whether it was raised in the module of MuJoCo's that obeys `MUJOCO_GL`, or in what that imports."""
    return any(
        frame.f_globals.get("__name__") == "mujoco.gl_context" for frame, _ in traceback.walk_tb(error.__traceback__)
    )
