"""What is measured on a GPU, row by row; see `gpu`."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader

from pdt_lightning.data.batches import Batch
from pdt_lightning.data.segments import Prompt
from pdt_lightning.data.streams import UpdateStream
from pdt_lightning.data.windows import Steps
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Row, rollout
from pdt_lightning.tuners.reward_models import reward_model_class

STATE, ACTION, HORIZON, K, PROMPT = 20, 6, 200, 20, 40  # half-cheetah's sizes; J·H = 40
TOLERANCE = {"32-true": 1e-4, "bf16-true": 3e-2}  # of actions in [-1, 1], against the CPU in float32
Figures = dict[str, Any]


@dataclass
class Size:
    """A model, and the batch that it trains on: rows of a prompt and a chunk of `steps`."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    rows: int = 64
    steps: int = 100


SIZES = [
    Size("published, 0.6 M", {}, 512),
    Size("50 M", {"width": 512, "layers": 16, "heads": 8, "inner": 2048}),
    Size("300 M", {"width": 1024, "layers": 24, "heads": 16, "inner": 4096}, 32),
]
SMALL = [Size("small", {"width": 32, "layers": 2, "heads": 2, "inner": 64}, 8, 20)]


def module_of(size: Size, device: torch.device) -> LitPDT:
    """With random weights, which cost what trained ones do."""
    options = {"attention": "window", "context_steps": K, "dropout": 0.0, **size.options}
    return LitPDT(STATE, ACTION, HORIZON, **options).to(device)


def steps_of(kind: Any, rows: int, steps: int, seed: int = 0) -> Any:
    """Rows of random steps."""
    rng = torch.Generator().manual_seed(seed)
    values = [torch.randn(rows, steps, n, generator=rng) for n in (1, STATE)] + [
        torch.randn(rows, steps, ACTION, generator=rng).tanh()
    ]
    return kind(*values, torch.arange(steps).expand(rows, -1).contiguous(), torch.ones(rows, steps, dtype=torch.bool))


def batch_of(rows: int, steps: int, device: torch.device, seed: int = 0) -> Batch:
    """A batch that costs what a drawn one does."""
    context, prompt = steps_of(Steps, rows, steps, seed), steps_of(Prompt, rows, PROMPT, seed)
    return Batch(context.to(device), prompt.to(device), context.actions.to(device), [0] * rows, float(rows * steps))


def seconds_of(work: Callable[[], object], device: torch.device, least: float) -> float:
    """Of one call, the mean over `least` seconds after two calls that do not count."""
    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    work()
    work()
    synchronise()
    calls, start = 0, time.perf_counter()
    while calls < 2 or time.perf_counter() - start < least:
        work()
        calls += 1
        if calls % 8 == 0:
            synchronise()  # so that the clock is not ahead of the card
    synchronise()
    return (time.perf_counter() - start) / calls


def peak(device: torch.device, least: float, small: bool) -> float:
    """Operations a second in a matrix product of bf16."""
    n = 512 if small else 8192
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2.0 * n**3 / seconds_of(lambda: a @ b, device, least)


def training(size: Size, compiled: bool, device: torch.device, least: float, top: float) -> Iterator[Figures]:
    """Updates as the trainer makes them in bf16-mixed."""
    module = module_of(size, device).train()
    weights = sum(parameter.numel() for parameter in module.parameters())
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)
    batch = batch_of(size.rows, size.steps, device)
    if compiled:
        module.model.compile()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def update() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            loss = (module.errors(batch) * batch.context.mask).sum() / batch.steps
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 0.25)
        optimizer.step()

    seconds = seconds_of(update, device, least)
    tokens = size.rows * (size.steps + PROMPT) * module.model.tokens_per_step / seconds
    name = f"training, {size.name}{', compiled' if compiled else ''}"
    yield {"row": name, "value": tokens, "unit": "tokens/s", "share": 6 * weights * tokens / top}
    if device.type == "cuda":
        yield {"row": f"{name}: memory", "value": torch.cuda.max_memory_allocated(device) / 2**20, "unit": "MiB"}


def encoding(size: Size, device: torch.device, least: float, small: bool) -> Iterator[Figures]:
    """1,000 segments of 20 steps, and a round of scoring them."""
    policy = Policy(module_of(size, device).model.eval(), K, "bf16-true")
    count = 50 if small else 1000
    steps = steps_of(Prompt, 1, count + 20)
    single = steps.singly()
    encoded = policy.encode(single, np.arange(count), 20)
    seconds = seconds_of(lambda: policy.encode(single, np.arange(count), 20), device, least)
    yield {"row": f"encode {count} segments, {size.name}", "value": 1e3 * seconds, "unit": "ms"}

    model = reward_model_class("linear")(encoded, 2)
    rng = np.random.default_rng(0)
    choices, returns = rng.integers(count, size=(50, 2)), rng.normal(size=50)

    def score() -> None:
        model.fit(choices, returns, rng)
        model.sample(rng)

    yield {
        "row": f"score {count} segments after 50 rollouts, {size.name}",
        "value": 1e3 * seconds_of(score, torch.device("cpu"), least),
        "unit": "ms",
    }


class Simulator:
    """Stands for a simulator: takes as long as half-cheetah for a step, 27 microseconds, and is deterministic."""

    def __init__(self) -> None:
        self.action_space = SimpleNamespace(low=-np.ones(ACTION), high=np.ones(ACTION), dtype=np.dtype(np.float32))

    def reset(self, seed: int) -> tuple[np.ndarray, dict]:
        """A random state."""
        self.rng, self.state = np.random.default_rng(seed), np.zeros(STATE)
        return self.state, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Follows the action."""
        end = time.perf_counter() + 27e-6
        self.state = 0.9 * self.state + 0.1 * np.resize(action, STATE)
        while time.perf_counter() < end:
            pass
        return self.state, float(action[0]), False, False, {}

    def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True)
class SimulatorTask:
    """What a rollout asks of a task."""

    id: str = "simulator"
    env_id: str = "simulator"
    env_kwargs: tuple = ()
    horizon: int = 100
    target_return: float = 1.0
    return_scale: float = 1.0

    def make_env(self) -> Simulator:
        """A new one."""
        return Simulator()


class Lender:
    """Simulators without end: `Environments` asks Gymnasium."""

    def lend(self, task: SimulatorTask) -> Simulator:
        """A new one."""
        return task.make_env()

    def take_back(self, task: SimulatorTask, env: Simulator, sound: bool = True) -> None:
        """It goes."""


def rollouts(size: Size, width: int, device: torch.device, horizon: int) -> Iterator[Figures]:
    """Steps a second, the model on the device and the simulators in this process, in turns."""
    policy = Policy(module_of(size, device).model.eval(), K, "bf16-true")
    task: Any = SimulatorTask(horizon=horizon)
    rows = [Row(task, steps_of(Prompt, 1, PROMPT, seed), seed) for seed in range(width)]
    lender: Any = Lender()
    rollout(policy, rows[:1], width, lender)
    start = time.perf_counter()
    outcomes = rollout(policy, rows, width, lender)
    seconds = time.perf_counter() - start
    if failed := [outcome.failed for outcome in outcomes if outcome.failed]:
        raise RuntimeError(failed[0])
    steps = sum(outcome.length for outcome in outcomes)
    yield {
        "row": f"rollouts, {size.name}, width {width}",
        "value": steps / seconds,
        "unit": "steps/s",
        "simulators": 27e-6 * steps / seconds,
    }


@torch.inference_mode()
def agreement(size: Size, device: torch.device) -> Iterator[Figures]:
    """The same actions as on the CPU in float32, to a tolerance."""
    torch.backends.cuda.matmul.allow_tf32 = False
    module = module_of(size, torch.device("cpu")).eval()
    batch = batch_of(4, size.steps, torch.device("cpu"))
    expected = module.model(batch.context, batch.prompt)
    for precision, tolerance in TOLERANCE.items():
        model = Policy(module.model.to(device), K, precision).model
        seen = model(batch.context.to(device), batch.prompt.to(device)).cpu()
        worst = float((seen - expected).abs().max())
        yield {
            "row": f"agreement with the CPU, {size.name}, {precision}",
            "value": worst,
            "unit": f"largest difference of an action; at most {tolerance:g}",
            "holds": worst <= tolerance,
        }


class Synthetic(lightning.LightningDataModule):
    """Batches of random numbers, by their number."""

    def __init__(self, size: Size):
        super().__init__()
        self.size, self.statistics = size, None
        self.save_hyperparameters({"attention": "window"})

    def validation_names(self) -> list:
        """No validation."""
        return [("val", ["none"])]

    def train_dataloader(self) -> DataLoader:
        """Without end."""
        rows, steps = self.size.rows, self.size.steps
        make = lambda number, rank, ranks: batch_of(rows, steps, torch.device("cpu"), number)  # noqa: E731
        return DataLoader(UpdateStream(make, 10, self.trainer), batch_size=None)


def resume(size: Size, device: torch.device) -> Iterator[Figures]:
    """Ten updates at once, and five and five with a checkpoint between them: the same weights."""
    ends = []
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/half.ckpt"
        for updates, ckpt in ((10, None), (5, None), (10, path)):
            module = module_of(size, torch.device("cpu"))
            module.keeps_statistics = True
            trainer = lightning.Trainer(
                accelerator="cpu" if device.type == "cpu" else "gpu",
                devices=1,
                max_steps=updates,
                precision="bf16-mixed",
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=folder,
            )
            trainer.fit(module, Synthetic(size), ckpt_path=ckpt)
            trainer.save_checkpoint(path if updates == 5 else f"{folder}/end.ckpt")
            ends.append([parameter.detach().cpu() for parameter in module.parameters()])
    worst = max(float((a - b).abs().max()) for a, b in zip(ends[0], ends[2], strict=True))
    yield {
        "row": "resume after 5 of 10 updates",
        "value": worst,
        "unit": "largest difference of a weight",
        "holds": worst <= 1e-5,
    }
