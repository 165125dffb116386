"""Types of the options that families share, with their ranges."""

from typing import TYPE_CHECKING

from pdt_lightning.core.ranges import number

# One demonstration validates, and a prompt comes from another episode than its window: three to train on, one to take
# prompts from.
if TYPE_CHECKING:
    Training = int
    Candidates = int
    Horizon = int
    Share = float
else:
    Training = number(int, 3, 1_000_000)
    Candidates = number(int, 1, 1_000_000)
    Horizon = number(int, 1, 1_000_000)
    Share = number(float, 0, 1)
