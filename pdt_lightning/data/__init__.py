"""What is known: demonstrations on disk, in memory, and as windows, segments and prompts for the model."""

from typing import TYPE_CHECKING, Any

from pdt_lightning.data.segments import Prompt, Segments

if TYPE_CHECKING:
    from pdt_lightning.data.datamodule import MultiTaskDataModule

__all__ = ["MultiTaskDataModule", "Prompt", "Segments"]


def __getattr__(name: str) -> Any:
    """`MultiTaskDataModule`, imported when it is asked for: worker processes do without Lightning, which takes seconds."""
    if name == "MultiTaskDataModule":
        from pdt_lightning.data.datamodule import MultiTaskDataModule

        return MultiTaskDataModule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
