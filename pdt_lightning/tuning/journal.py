"""Rollouts of a tuning phase on disk as they end, so that a phase that was stopped goes on where it was."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pdt_lightning.rollouts.engine import RolloutEngine
from pdt_lightning.rollouts.giving_up import GivingUp
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Outcome, Rollout, Row


class Journal:
    """Outcomes on disk, found again by all they depend on: weights, how the policy plays, width and row.

    Each rank writes its own file and reads all files, so that a phase may go on with another number of ranks. A line
    that was cut short by a kill is left out.

    Args:
        path: a file of JSON lines, of a rank of its own. Its neighbours in the folder are read too.
        policy: which plays; outcomes of another one are not found again.
        width: rows in a forward pass.
    """

    def __init__(self, path: Path, policy: Policy, width: int):
        played = f"{policy.precision} {policy.context_steps} {policy.model.window_steps} {width}"
        if policy.prompt_tokens is not None:
            played += f" {policy.prompt_tokens}"
        digest = hashlib.blake2b(played.encode())
        for name, values in policy.model.state_dict().items():
            digest.update(name.encode())
            digest.update(values.detach().float().cpu().contiguous().numpy().tobytes())
        self._digest = digest.digest()
        self.path = path
        self.outcomes: dict[str, Outcome] = {}
        for file in sorted(path.parent.glob("*.jsonl")):
            for line in file.read_text().splitlines():
                try:
                    key, outcome = json.loads(line)
                except ValueError:
                    continue
                self.outcomes[key] = Outcome.restored(outcome)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[str] = path.open("a")
        if path.stat().st_size:
            self._file.write("\n")  # ends a line that was cut short

    def add(self, rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
        """Write outcomes, if there are any, and wait until the disk has them."""
        if not rows:  # as while somebody waits
            return
        for row, outcome in zip(rows, outcomes, strict=True):
            self._file.write(json.dumps([self._key(row), outcome.plain()]) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def replay(self, play: Rollout, on_known: Callable[[int], object]) -> Rollout:
        """`play` only what is not known yet; `on_known` is told how many are known."""

        def replayed(rows: Sequence[Row]) -> list[Outcome]:
            keys = [self._key(row) for row in rows]
            found = {place: self.outcomes[key] for place, key in enumerate(keys) if key in self.outcomes}
            missing = [place for place in range(len(rows)) if place not in found]
            on_known(len(keys) - len(missing))
            for place, outcome in zip(missing, play([rows[place] for place in missing]), strict=True):
                found[place] = outcome
                if outcome.episode is None:  # what was seen and done takes memory
                    self.outcomes[keys[place]] = outcome
            return [found[place] for place in range(len(rows))]

        return replayed

    def _key(self, row: Row) -> str:
        digest = hashlib.blake2b(self._digest, digest_size=16)
        task = row.task
        digest.update(f"{task.id} {task.horizon} {task.target_return} {task.return_scale} {row.seed}".encode())
        digest.update(row.prompt.tobytes())
        if row.recorded:  # an outcome without its episode does not do
            digest.update(b"recorded")
        return digest.hexdigest()

    def close(self) -> None:
        """Close the file, which stays until the phase is over and in a checkpoint."""
        self._file.close()


@contextmanager
def journaled(
    path: Path, policy: Policy, engine: RolloutEngine, on_rollouts: Callable[[int], object]
) -> Iterator[Rollout]:
    """A function from rows to outcomes that plays what no journal beside `path` has, and keeps it there.

    Tasks of which nothing can be played are given up.

    Args:
        path: of the journal.
        policy: which plays.
        engine: that plays.
        on_rollouts: told how many rollouts have ended, or were known; may raise, to stop.
    """
    journal = Journal(path, policy, engine.width)

    def played(rows: Sequence[Row], outcomes: Sequence[Outcome]) -> None:
        journal.add(rows, outcomes)
        on_rollouts(len(outcomes))

    try:
        yield GivingUp(journal.replay(engine.with_policy(policy, played), on_rollouts))
    finally:
        journal.close()


def path_of(folder: Path, phase: int | str, rank: int | str) -> Path:
    """A rank's journal of a phase; with `*` for them, a pattern."""
    return folder / f"{phase}_rank_{rank}.jsonl"


def forget(folder: Path, phases: int) -> None:
    """Delete the journals of the first so many phases."""
    for phase in range(phases):
        for file in folder.glob(path_of(folder, phase, "*").name):
            file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it is not there, or not empty
        folder.rmdir()
