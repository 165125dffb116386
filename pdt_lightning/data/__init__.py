"""What is known: demonstrations on disk, in memory, and as windows, segments and prompts for the model.

Experts make demonstrations (`collect.py`; `practice.py` trains experts), Minari keeps them (`minari.py`), files of
them are mapped (`mapped.py`) as `episodes.py`, cut into `windows.py` and `segments.py`, drawn into `batches.py` and
served by `datamodule.py`. To add an importer of published files, write one beside `prompt_dt.py`.
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
