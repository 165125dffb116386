"""What the user gave is wrong: the error that says so, the checks that raise it, and how a command ends with it."""

import errno
import functools
import math
import os
import re
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Collection
from difflib import get_close_matches
from pathlib import Path
from typing import Any

# No room on the disk, or none of the user's share; the file is too large for it; it is read-only.
DISK_ERRORS = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG, errno.EROFS)


class UserError(ValueError):
    """What the user gave is wrong: an option, a file, a folder. The message names it, the value seen and the way out.

    A command ends with the message alone (see `command`). Every other exception is a bug or the machine's doing, and
    keeps its traceback.
    """


class NotFoundError(UserError, FileNotFoundError):
    """A file, folder or dataset that the user named is not there."""


class LostRank(RuntimeError):
    """Another rank has ended, so that this one cannot go on; no bug of this one's, so that a command says only that."""


def command(name_of: Callable[[str], str] = str) -> Callable[[Callable[[list[str]], None]], Callable[..., None]]:
    """Make a function of the arguments a command, which ends in one message and exit code 2 where the user was wrong.

    `--debug` among the arguments adds the traceback. Of several processes on a machine one speaks. Ctrl-C ends without
    a traceback.

    Args:
        name_of: what a message is passed through, for commands whose options have other names.
    """

    def decorate(main: Callable[[list[str]], None]) -> Callable[..., None]:
        @functools.wraps(main)
        def run(args: list[str] | None = None) -> None:
            args = sys.argv[1:] if args is None else [str(arg) for arg in args]
            in_threads = threading.excepthook
            if "--debug" not in args:  # a logger's thread, say, whose error the main one meets too
                threading.excepthook = lambda told: None if of_the_disk(told.exc_value) else in_threads(told)
            try:
                main([arg for arg in args if arg != "--debug"])
            except LostRank as error:
                print(f"error: {error}", file=sys.stderr, flush=True)
                raise SystemExit(1) from None
            except Exception as error:
                if not is_the_users(error):
                    if "--debug" in args or not (trouble := of_the_disk(error)):
                        raise
                    print("error:", trouble, file=sys.stderr, flush=True)
                    raise SystemExit(1) from None
                if "--debug" in args:
                    traceback.print_exc()
                elif os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", "0")) == "0":
                    print("error:", *name_of(str(error)).split(), file=sys.stderr, flush=True)
                raise SystemExit(2) from None
            except KeyboardInterrupt:
                print("\nStopped.", file=sys.stderr, flush=True)
                raise SystemExit(128 + signal.SIGINT) from None
            finally:
                threading.excepthook = in_threads

        return run

    return decorate


def is_the_users(error: Exception) -> bool:
    """Whether the user was wrong: an error of ours, or Lightning's about its own options."""
    lightnings = sys.modules.get("lightning.fabric.utilities.exceptions")  # not imported here: it takes seconds
    return isinstance(error, UserError) or (
        lightnings is not None and isinstance(error, lightnings.MisconfigurationException)
    )


def of_the_disk(error: BaseException | None) -> str:
    """What is wrong with the disk, where an error comes of it, as sentences; else nothing.

    Libraries wrap such errors, and those of other processes arrive as text, so that the system's words are looked for.

    >>> of_the_disk(OSError(28, "No space left on device", "runs/tuning.csv"))
    'runs/tuning.csv: No space left on device. All that was written before is whole. Mend it, and go on.'
    >>> of_the_disk(ValueError("other"))
    ''
    """
    named, chain = "", list[BaseException]()
    link = error
    while link is not None and link not in chain:
        chain.append(link)
        named = named or str(getattr(link, "filename", None) or "")
        link = link.__cause__ or link.__context__
    text = " ".join(map(str, chain))
    for words in map(os.strerror, DISK_ERRORS):
        if words in text:
            place = f"{named}: " if named else ""
            return f"{place}{words}. All that was written before is whole. Mend it, and go on."
    return ""


def out_of_range(
    value: float | None, least: float = -math.inf, most: float = math.inf, above: bool = False, below: bool = False
) -> str:
    """What is wrong with a number that is not finite or not in its range, as a sentence; empty where nothing is.

    Args:
        value: what the user gave; none is wrong too.
        least: the smallest value that is accepted.
        most: the largest one.
        above: whether the value has to be above `least` instead.
        below: whether it has to be below `most` instead.

    >>> out_of_range(0, 1)
    'it has to be at least 1.'
    >>> out_of_range(float("nan"), 0, 1, below=True)
    'it has to be at least 0 and below 1.'
    """
    number = math.nan if value is None else value
    enough = number > least if above else number >= least  # False for NaN
    if enough and (number < most if below else number <= most) and math.isfinite(number):
        return ""
    words = [f"{'above' if above else 'at least'} {least:,}"] if least > -math.inf else []
    words += [f"{'below' if below else 'at most'} {most:,}"] if most < math.inf else []
    return f"it has to be {' and '.join(words) or 'a finite number'}."


def check_range(option: str, value: float | None, *limits: Any, **more: Any) -> None:
    """Refuse a number that is out of range.

    Args:
        option: its name, such as `` `data.batch_size` ``.
        value: what the user gave.
        *limits: of `out_of_range`.
        **more: likewise.

    >>> check_range("`data.batch_size`", 0, 1)
    Traceback (most recent call last):
    pdt_lightning.core.errors.UserError: `data.batch_size`=0: it has to be at least 1.
    """
    if problem := out_of_range(value, *limits, **more):
        raise UserError(f"{option}={value}: {problem}")


def check_choice(option: str, value: object, known: Collection[str]) -> None:
    """Refuse what is not one of the known names, and suggest the nearest.

    >>> check_choice("`tuner`", "structurd", ["structured", "uniform"])
    Traceback (most recent call last):
    pdt_lightning.core.errors.UserError: `tuner`=structurd: choose one of structured, uniform. Did you mean structured?
    """
    if value not in known:
        raise UserError(f"{option}={value}: choose one of {', '.join(known)}.{suggestion(str(value), known)}")


def suggestion(word: str, known: Collection[str]) -> str:
    """` Did you mean ...?` with the known word that is nearest; empty where none is near.

    >>> suggestion("`model.widht`", ["`model.width`", "`model.layers`"])
    ' Did you mean `model.width`?'
    """
    near = get_close_matches(str(word), known, n=1, cutoff=0.7)
    return f" Did you mean {near[0]}?" if near else ""


def explained(message: str, name_of: Callable[[str], str]) -> str:
    """A message of jsonargparse's in our words.

    Args:
        message: of an error.
        name_of: how an option is named, by the name that it has in the parser.

    >>> explained("Parser key 'width': Expected a <class 'int'>. Got value: six", "`model.{}`".format)
    '`model.width`=six: it has to be an int.'
    """
    key = re.search(r"(?:Parser key|Key) [\"']([\w.]+)[\"']:?\s*", message)
    given = re.search(r"(?:Got|Given) value: (.*)", message)
    if key and (ours := re.search(r"Not of type [^:]*: (=.*)", message)):
        return name_of(key[1]) + ours[1]
    if key and given and (choices := re.findall(r"Expected a typing\.Literal\[(.*?)\]", message)):
        names = [name.strip("\"'") for name in ", ".join(choices).split(", ")]
        return f"{name_of(key[1])}={given[1]}: choose one of {', '.join(names)}.{suggestion(given[1], names)}"
    if key and given and (kind := re.search(r"Expected an? <class '(\w+)'>\. Got", message)):
        return f"{name_of(key[1])}={given[1]}: it has to be {'an' if kind[1] == 'int' else 'a'} {kind[1]}."
    message = re.sub(r"(?:Parser key|Key) [\"']([\w.]+)[\"']", lambda found: name_of(found[1]), message)
    message = re.sub(
        r"(?<=arguments are required: )([\w., ]+)",
        lambda names: re.sub(r"[\w.]+", lambda name: name_of(name[0]), names[0]),
        message,
    )
    return re.sub(r"<class '([^']+)'>", r"\1", message)


def check_memory(what: str, size: float, way_out: str) -> None:
    """Refuse what this machine's memory cannot hold, before anything asks for it.

    Args:
        what: needs the memory, with the options that decide how much.
        size: bytes.
        way_out: what to do, as a sentence.
    """
    try:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):  # not on every system
        return
    if size > available:
        raise UserError(
            f"{what} would take {size / 2**30:,.0f} GiB, but this machine has {available / 2**30:,.0f}. {way_out}"
        )


def check_writable(option: str, folder: Path) -> None:
    """Refuse a folder in which nothing can be written, whether or not it is there yet; nothing is left behind.

    (Permissions say little: root has them all, also where a file is in the way or the disk is read-only.)
    """
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not there.is_dir():
            raise UserError(f"{option}: {folder} cannot be written: {there} is a file. Name another folder.")
        with tempfile.TemporaryDirectory(prefix=".writable-", dir=there):
            pass
    except OSError as error:
        raise UserError(f"{option}: {folder} cannot be written: {error.strerror}. Name another folder.") from error
