"""When things happen: Lightning callbacks that tune prompts between validations, stop a run, and fill TensorBoard."""

from pdt_lightning.callbacks.prompt_tuning import PromptTuning

__all__ = ["PromptTuning"]
