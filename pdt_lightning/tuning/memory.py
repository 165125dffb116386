"""What the tuners of one phase found out, and how much of it those of the next phase remember.

From one phase to the next the model has changed a little: what was true of a prompt is likely still true, but not
surely. So each outcome is remembered with a probability, anew from phase to phase, and what is remembered counts like
an outcome of the phase itself. In expectation that is the forgetting of MoPPS (arXiv 2507.04632), whose counts of
successes and failures are multiplied by a factor; here it serves returns and any reward model as well.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from pdt_lightning.core.plain import plain
from pdt_lightning.core.seeding import generator
from pdt_lightning.tuners.spaces import Tried
from pdt_lightning.tuning.result import TaskResult


class PhaseMemory:
    """Outcomes by task.

    Args:
        probability: with which one that a phase had still counts in the next one.
        seed: of what is remembered.
    """

    def __init__(self, probability: float, seed: int):
        self.probability, self.seed = probability, seed
        self.told: dict[str, list[Tried]] = {}  # to the tuners of the newest phase
        self.found: dict[str, list[Tried]] = {}  # these, and what they found out then

    def begin(self, phase: int) -> None:
        """Draw what the tuners of a phase are told; to be left out where a phase is repeated."""
        self.told = {task: self._drawn(phase, task, own) for task, own in self.found.items()}

    def _drawn(self, phase: int, task: str, own: Sequence[Tried]) -> list[Tried]:
        draws = generator(self.seed, "remembered", phase, task).random(len(own))
        return [one for one, draw in zip(own, draws, strict=True) if draw < self.probability]

    def end(self, results: Iterable[TaskResult]) -> None:
        """Keep what a phase found."""
        self.found = self.found | {result.task: result.memory for result in results}

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"told": plain(self.told), "found": plain(self.found)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.told, self.found = (
            {task: [(tuple(choice), value) for choice, value in own] for task, own in state[name].items()}
            for name in ("told", "found")
        )
