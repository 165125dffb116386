"""A worker process that plays blocks of rows, and may die of it or hang in it, which whoever holds it finds out."""

import io
import multiprocessing
import pickle
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from pdt_lightning.core.processes import METHOD, begin
from pdt_lightning.rollouts.environment_cache import Environments
from pdt_lightning.rollouts.policy import Policy, Settings
from pdt_lightning.rollouts.rollout import Outcome, Row, rollout

# A policy as it travels: its model, pickled, so that tensors are bytes, and its settings.
Frozen = tuple[bytes, Settings]

multiprocessing.set_forkserver_preload([__name__])  # once, so that a program may have others loaded besides


class Worker:
    """A process with one torch thread, which plays one block at a time and keeps its environments and its policy.

    It ends with its parent, however that ends, and is forked from a process that has imported what it takes and done
    nothing else (a fork of one that has used torch's threads can hang), so that another one is there at once.

    Args:
        width: rows in a forward pass.
    """

    def __init__(self, width: int):
        context: Any = multiprocessing.get_context(METHOD)
        self._connection, theirs = context.Pipe()
        # The number of the row whose environment is at work, and since when; see `rollout`.
        self._watch: Any = context.Array("d", 2, lock=False)
        # A daemon, for which the interpreter does not wait when it ends.
        self._process = context.Process(target=_serve, args=(theirs, self._watch, width), daemon=True)
        self._process.start()
        theirs.close()
        self._frozen: Frozen | None = None
        self._started = False
        self.busy = False

    @property
    def waitables(self) -> list[Any]:
        """What to wait on for news of it."""
        return [self._connection, self._process.sentinel]

    def start(self, frozen: Frozen, block: Sequence[Row]) -> None:
        """Let it play; the policy travels when it is another one."""
        self.busy = True
        policy = None if frozen is self._frozen else frozen
        self._frozen = frozen
        with suppress(OSError):  # it is dead, as `poll` will say
            self._connection.send_bytes(_pickled((policy, block)))

    def poll(self, timeout: float | None) -> list[Outcome] | tuple[int | None, str] | None:
        """What has become of the block.

        It is its outcomes; or the number of the row that ended the worker, and how; or nothing yet.

        The number is None where no environment was at work.

        Raises:
            RuntimeError: if the process could not be started, or what it plays by is broken.
        """
        try:
            if self._connection.poll():
                answer: list[Outcome] | str | None = pickle.loads(self._connection.recv_bytes())
                if answer is None:  # it is ready
                    self._started = True
                    return None
                self.busy = False
                if isinstance(answer, str):
                    raise RuntimeError(f"in a rollout worker: {answer}")
                return answer
        except (EOFError, OSError):
            self._process.join(1)
        number, since = int(self._watch[0]), self._watch[1]
        row = number if since else None
        if not self._process.is_alive():
            if not self._started and row is None:
                raise RuntimeError(
                    f"a rollout worker ended with exit code {self._process.exitcode} before it could play. A program "
                    "that starts "
                    'workers has to do so under `if __name__ == "__main__":`.'
                )
            return row, f"WorkerDied: exit code {self._process.exitcode}"
        if row is not None and timeout is not None and time.monotonic() - since > timeout:
            return row, f"TimeoutError: a step took more than `tuning.step_timeout`={timeout:g} s"
        return None

    def patience(self, timeout: float | None) -> float:
        """Seconds until the environment that is at work hangs; at most one."""
        since = self._watch[1]
        return 1.0 if timeout is None or not since else min(1.0, max(0.0, since + timeout - time.monotonic()) + 0.01)

    def end(self) -> None:
        """End it at once: it holds nothing that is needed."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def _pickled(message: object) -> bytes:
    """As `pickle.dumps`, but tensors as arrays, in a fiftieth of the time: torch writes a file for each."""
    written = io.BytesIO()
    pickler = pickle.Pickler(written, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = {Tensor: lambda tensor: (torch.from_numpy, (tensor.numpy(),))}
    pickler.dump(message)
    return written.getvalue()


def _serve(connection: Any, watch: Any, width: int) -> None:
    begin()
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # simulators may start processes
    connection.send_bytes(pickle.dumps(None))
    environments = Environments(2 * width)
    policy: Policy | None = None
    while True:
        frozen, block = pickle.loads(connection.recv_bytes())
        if frozen is not None:
            policy = Policy(pickle.loads(frozen[0]).eval(), *frozen[1])
        assert policy is not None
        try:
            answer: list[Outcome] | str = rollout(policy, block, width, environments, watch)
        except Exception as error:  # not an environment's, which are outcomes
            answer = f"{type(error).__name__}: {error}"
        connection.send_bytes(pickle.dumps(answer))
