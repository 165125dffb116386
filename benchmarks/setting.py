"""What is measured on: the published size, half-cheetah's shapes, and everything drawn by seed."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks import plain
from pdt_lightning.data.batches import Batch, Pool
from pdt_lightning.data.episodes import Episodes
from pdt_lightning.data.minari import Demonstration
from pdt_lightning.data.segments import Prompt
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.model.pdt import PromptDecisionTransformer
from pdt_lightning.tasks import Task, make_family
from pdt_lightning.tasks.half_cheetah import velocity_task

K, SEGMENTS, SEGMENT_STEPS = 20, 2, 20  # context steps; J and H
STATE_SIZE, ACTION_SIZE, HORIZON, TASKS = 20, 6, 200, 35
ROWS, PROCESSES = 32, 2  # rows a process


def model(
    window: bool = False, state_size: int = STATE_SIZE, action_size: int = ACTION_SIZE
) -> PromptDecisionTransformer:
    """The published size with random weights, which cost what trained ones do."""
    torch.manual_seed(0)
    made = PromptDecisionTransformer(state_size, action_size, HORIZON, window_steps=K if window else None)
    return made.eval().requires_grad_(False)


def demonstrations(episodes: int, seed: int = 0) -> list[Demonstration]:
    """Half-cheetah's shapes, filled at random."""
    rng = np.random.default_rng(seed)
    sizes = (STATE_SIZE, ACTION_SIZE)
    drawn = [[rng.standard_normal((HORIZON, size), np.float32) for size in sizes] for _ in range(episodes)]
    return [
        Demonstration(states, np.tanh(actions), np.tanh(actions), rng.normal(size=HORIZON)) for states, actions in drawn
    ]


def training_episodes(each: int = 5) -> Episodes:
    """Of all training tasks."""
    return Episodes.build([demonstrations(each, seed=task) for task in range(TASKS)], [500.0] * TASKS)


def pool(episodes: Episodes) -> Pool:
    """To draw training windows from all episodes."""
    return Pool(episodes, np.arange(len(episodes)), SEGMENT_STEPS)


def update(module: LitPDT, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    """One update as the trainer makes it, in bf16-mixed."""
    with torch.autocast("cpu", torch.bfloat16):
        loss = (module.errors(batch) * batch.context.mask).sum() / batch.steps
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), plain.GRADIENT_CLIP)
    optimizer.step()


def prompts(count: int, steps: int, state_size: int = STATE_SIZE, action_size: int = ACTION_SIZE) -> Prompt:
    """Random prompts: what stands in them changes no cost."""
    rng = torch.Generator().manual_seed(0)
    return Prompt(
        torch.randn(count, steps, 1, generator=rng),
        torch.randn(count, steps, state_size, generator=rng),
        torch.randn(count, steps, action_size, generator=rng).tanh(),
        torch.arange(steps).expand(count, -1).contiguous(),
        torch.ones(count, steps, dtype=torch.bool),
    )


def half_cheetah() -> list[Task]:
    """The five held-out velocities."""
    return [velocity_task(number) for number in (2, 7, 15, 23, 26)]


def pick_place() -> list[Task]:
    """The five held-out goals."""
    family = make_family("metaworld", {"extra_goal_seeds": []})
    return [
        Task(t.id, t.env_id, t.env_kwargs, horizon=t.horizon, target_return=1000.0, return_scale=1000.0)
        for t in family.heldout_tasks
    ]


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def paired(ours: Callable[[], object], plain: Callable[[], object], repeats: int = 3) -> tuple[float, float]:
    """Median seconds of both, taken in turns, so that what disturbs one disturbs both.

    The first run of each does not count.
    """
    ours()
    plain()
    times = [(seconds(ours), seconds(plain)) for _ in range(repeats)]
    return statistics.median(t for t, _ in times), statistics.median(t for _, t in times)
