"""How a command ends where a disk is full: in one message, also where libraries and threads are in between."""

import errno
import os
import threading

import pytest

from pdt_lightning.core.errors import command, of_the_disk

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/tuning.csv")
MESSAGE = "runs/tuning.csv: No space left on device. All that was written before is whole. Mend it, and go on."


@command()
def writes(args):
    """Fails as a library does, whose own error says nothing of the disk, or in a thread too."""
    if "thread" in args:
        writer = threading.Thread(target=writes.__wrapped__, args=([],))
        writer.start()
        writer.join()
    try:
        raise FULL
    except OSError as error:
        raise RuntimeError("the file cannot be closed") from error


@pytest.mark.parametrize("where", ["here", "thread"])
def test_a_full_disk_is_one_message(where, capsys):
    before = threading.excepthook
    with pytest.raises(SystemExit) as ended:
        writes([where])
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"error: {MESSAGE}\n"
    assert threading.excepthook is before


def test_with_debug_it_is_raised_as_it_is():
    with pytest.raises(RuntimeError, match="cannot be closed"):
        writes(["--debug"])


def test_what_another_process_says_of_its_disk_is_understood_too():
    assert of_the_disk(RuntimeError("on rank 1: OSError: [Errno 30] Read-only file system: 'x'")).startswith(
        "Read-only"
    )
    assert of_the_disk(ValueError("other")) == ""
