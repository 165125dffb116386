"""Files that are whole: written under another name, then renamed; and locks, by which one process has something."""

import errno
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO


def write_atomically(path: Path | str, content: str | bytes | memoryview) -> None:
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


def check_room(path: Path, size: int) -> None:
    """Raise what the system does on a full disk if there is less room at `path` than `size` bytes, before it is full.

    It is for libraries that do not survive a full disk. The path need not be there yet.
    """
    there = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if shutil.disk_usage(there).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def lock(path: Path) -> IO[str] | None:
    """Lock a file for this process, until what comes back is closed or the process ends, however it ends.

    Returns:
        The file; None where another process has it. Where the system or the disk knows no locks, everyone gets it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except (ImportError, OSError):
        pass
    return file


def _umask() -> int:
    """The process's mask; there is no way to ask for it but to set it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
