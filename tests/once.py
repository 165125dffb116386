"""What several tests look at and none changes is made once, whichever of pytest's workers comes to it first."""

import fcntl
import os


def once(tmp_path_factory, name, make):
    """A folder, which the first worker to ask for it fills by `make(folder)`; the others wait for that."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder.with_suffix(".done")
        if not done.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            done.touch()
    return folder
