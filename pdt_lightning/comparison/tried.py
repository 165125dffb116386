"""What the tuners of a comparison have tried and recommended, from the files of their jobs.

The best found starts from it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pdt_lightning.comparison.plan import Job, Plan
from pdt_lightning.data.segments import Prompt
from pdt_lightning.rollouts.rollout import Outcome
from pdt_lightning.tuning.oracle import TriedPrompts


def save_prompts(rows: Sequence[dict[str, Any]], prompts: Sequence[Prompt], path: Path) -> None:
    """Keep the prompts of rows, equal ones once, in one file; `rows` are told under which number."""
    numbers: dict[bytes, int] = {}
    kept: list[Prompt] = []
    for row, prompt in zip(rows, prompts, strict=True):
        row["prompt_number"] = numbers.setdefault(prompt.tobytes(), len(kept))
        if len(kept) < len(numbers):
            kept.append(prompt)
    if kept:
        Prompt.cat(kept).save(path)


def add_tried(tried: TriedPrompts, plan: Plan, checkpoint: int, folder: Path) -> None:
    """Add what any tuner has recommended for a task, and every prompt that it tried in its longest search.

    Args:
        tried: the prompts of the task, which are added to.
        plan: of the comparison, whose jobs with this checkpoint are done, but for the best found.
        checkpoint: its number.
        folder: of the comparison.
    """
    for name in plan.names:
        file = Job(checkpoint, name).file(folder)
        job, kept = json.loads(file.read_text()), file.with_suffix(".safetensors")
        prompts = Prompt.load(kept) if kept.is_file() else None
        for row in [*job["recommended"], *job.get("trials", ())]:
            if prompts is not None and row["task"] == tried.task.id and row.get("prompt_number") is not None:
                values = [tried.objective.value(_outcome(row))] if "round" in row else []
                tried.add(prompts[[row["prompt_number"]]], row["origin"], values)


def _outcome(row: dict[str, Any]) -> Outcome:
    """A trial's, as far as its file keeps it."""
    failed = None if row["return"] is not None else "as its job saw"
    return Outcome(row["return"] or 0.0, row["success"], row["length"], failed)
