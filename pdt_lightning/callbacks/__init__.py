"""When things happen: Lightning callbacks that tune prompts between validations, stop a run, and fill TensorBoard.

`prompt_tuning.py` runs the phases and decides when (`PromptTuning.due`), `task_success.py` plays the training tasks
where they are drawn by their success, `interruption.py` stops where a run can go on, and `board.py` is all that
TensorBoard shows beside the logged curves.
"""

from pdt_lightning.callbacks.prompt_tuning import PromptTuning
from pdt_lightning.callbacks.task_success import TaskSuccess

__all__ = ["PromptTuning", "TaskSuccess"]
