"""Types of the options of data, with their ranges and choices."""

from typing import TYPE_CHECKING, Literal

from pdt_lightning.core.ranges import number

Attention = Literal["published", "window"]
TaskSamplingName = Literal["uniform", "sensitivity", "success"]
# More can only be a slip.
if TYPE_CHECKING:
    Count = int
    Steps = int
    Workers = int
    Share = float
else:
    Count = number(int, 1, 10**9)
    Steps = number(int, 1, 100_000)
    Workers = number(int, 1, 1024)
    Share = number(float, 0, 1, above=True, below=True)
