"""Files that are whole: written under another name, then renamed."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path | str, content: str | bytes) -> None:
    """Write to a temporary name, then rename: whoever reads finds the old file or the new one, whole.

    Missing folders are made.

    The temporary name is the writer's own, so that several may write one file at once: the last one to end wins.
    Nothing is left of a write that failed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    number, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(partial, 0o666 & ~_umask())  # a temporary file is for its owner alone
        os.replace(partial, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise


def _umask() -> int:
    """The process's mask; there is no way to ask for it but to set it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
