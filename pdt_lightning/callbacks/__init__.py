"""When: Lightning callbacks."""

from pdt_lightning.callbacks.prompt_tuning import PromptTuning

__all__ = ["PromptTuning"]
