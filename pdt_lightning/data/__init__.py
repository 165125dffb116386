"""What is known: demonstrations on disk, in memory, and as windows, segments and prompts for the model.

Experts make demonstrations (`collect.py`; `practice.py` trains experts), and Minari keeps them (`minari.py`). They are
converted to memory-mapped files (`mapped.py`) and opened as `episodes.py`, cut into `windows.py` and `segments.py`,
drawn into `batches.py`, whose tasks `task_sampling.py` chooses, which may follow `success_posterior.py`, and served by
`datamodule.py`. To add an importer of published files, write one beside `prompt_dt.py`.

`Statistics` (`normalisation.py`) is what states and actions are normalised by; the model applies it (`model/pdt.py`).
`facts.py` decides horizon, target and scale of a task that leaves them open. `checks.py` refuses data that will not do,
before anything is read or trained, and decides how many episodes are for validation.
"""

from typing import TYPE_CHECKING, Any

from pdt_lightning.data.segments import Prompt, Segments

if TYPE_CHECKING:
    from pdt_lightning.data.datamodule import MultiTaskDataModule

__all__ = ["MultiTaskDataModule", "Prompt", "Segments"]


def __getattr__(name: str) -> Any:
    """`MultiTaskDataModule`, imported when asked for: worker processes do without Lightning, which takes seconds."""
    if name == "MultiTaskDataModule":
        from pdt_lightning.data.datamodule import MultiTaskDataModule

        return MultiTaskDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
