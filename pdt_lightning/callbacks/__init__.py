"""When things happen: Lightning callbacks that tune prompts between validations, stop a run, and fill TensorBoard.

`prompt_tuning.py` runs the phases and decides when (`PromptTuning.due`), `interruption.py` stops where a run can go on,
and `board.py` is all that TensorBoard shows beside the logged curves.
"""

from pdt_lightning.callbacks.prompt_tuning import PromptTuning

__all__ = ["PromptTuning"]
