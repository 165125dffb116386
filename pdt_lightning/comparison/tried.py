"""What the tuners of a comparison have tried and recommended, from the files of their jobs.

The best found starts from it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pdt_lightning.comparison.plan import Job, Plan
from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.rollouts.rollout import Outcome
from pdt_lightning.tuners.base import Candidate
from pdt_lightning.tuning.oracle import Pool


def save_prompts(rows: Sequence[dict[str, Any]], candidates: Sequence[Candidate], path: Path) -> None:
    """Keep recommended prompts that are not made of segments as they are; `rows` are told under which number."""
    made = [
        (row, candidate.prompt) for row, candidate in zip(rows, candidates, strict=True) if candidate.choice is None
    ]
    for number, (row, _) in enumerate(made):
        row["prompt_number"] = number
    if made:
        Prompt.cat([prompt for _, prompt in made]).save(path)


def add_tried(pool: Pool, segments: Segments, plan: Plan, checkpoint: int, folder: Path) -> None:
    """Add what any tuner has recommended for a task, and every prompt of segments that it tried in its longest search.

    Args:
        pool: of the task.
        segments: of the task.
        plan: of the comparison, whose jobs with this checkpoint are done, but for the best found.
        checkpoint: its number.
        folder: of the comparison.
    """
    for name in plan.names:
        file = Job(checkpoint, name).file(folder)
        job, values = json.loads(file.read_text()), file.with_suffix(".safetensors")
        prompts = Prompt.load(values) if values.is_file() else None
        recommended = [row for row in job["recommended"] if row["task"] == pool.task.id]
        for row in recommended:
            if prompts is not None and row.get("prompt_number") is not None:
                pool.add(prompts[[row["prompt_number"]]])
        _add(pool, segments, [(row["choice"], ()) for row in recommended if row["choice"]])
        trials = [row for row in job.get("trials", ()) if row["task"] == pool.task.id and row["choice"]]
        _add(pool, segments, [(row["choice"], [pool.objective.value(_outcome(row))]) for row in trials])


def _add(pool: Pool, segments: Segments, tried: Sequence[tuple[Sequence[int], Sequence[float | None]]]) -> None:
    if tried:
        prompts = segments.gather(np.array([choice for choice, _ in tried]))
        for number, (_, values) in enumerate(tried):
            pool.add(prompts[[number]], values)


def _outcome(row: dict[str, Any]) -> Outcome:
    """A trial's, as far as its file keeps it."""
    failed = None if row["return"] is not None else "as its job saw"
    return Outcome(row["return"] or 0.0, row["success"], row["length"], failed)
