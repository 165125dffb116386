"""Generated segments: drawn by a denoiser that learned the training tasks' segments and was fitted to the task's own.

What it learns of all tasks is kept for the next process. To a task it is fitted by its denoising loss on the task's
candidates together with guidance: the frozen transformer's error on the best demonstrations, prompted by what it draws.

Source: Hu et al. 2024 (Prompt Diffuser, arXiv 2411.01168). There both losses train on all tasks; here guidance comes
with the task, so that what is learned of all tasks does not depend on the transformer's weights, and a run that tunes
after every epoch learns it once. The paper names neither its network nor its constants: these are ours.
"""

import copy
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pdt_lightning.core import cache
from pdt_lightning.core.errors import UserError
from pdt_lightning.core.files import write_atomically
from pdt_lightning.core.seeding import generator
from pdt_lightning.core.terminal import say
from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.data.windows import context_windows
from pdt_lightning.model.pdt import STATISTICS, PromptDecisionTransformer
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners import denoiser as denoising
from pdt_lightning.tuners.denoiser import Denoiser, learn
from pdt_lightning.tuners.features import made_once
from pdt_lightning.tuners.references import STEPS, best_demonstrations, spread_windows
from pdt_lightning.tuners.spaces import as_prompts, as_values

SAMPLE = 4096  # segments whose mean and spread stand for all
BATCH = 128  # segments of an update
UPDATES, RATE = 2000, 1e-3  # on the training tasks' segments, at most
PASSES = 100  # through them, at most: few segments are soon learned by heart
FIT_UPDATES, FIT_RATE = 100, 3e-4  # on a task's own
GUIDED, WINDOWS = 8, 16  # prompts and windows of demonstrations in each of the latter
COUNT = 64  # segments that are drawn


class Enlarged(Segments):
    """A task's segments and, after them, generated ones.

    Args:
        segments: the task's own.
        generated: as many prompts of `H` steps as there are.
        soft: how many of these, the last ones, are the parts of a soft prompt.

    Attributes:
        own: the task's own.
        generated: the others.
    """

    def __init__(self, segments: Segments, generated: Prompt, soft: int = 0):
        self.own, self.soft = segments, soft
        self.episodes, self.steps, self.training = segments.episodes, segments.steps, segments.training
        self.demonstrated, self.generated = segments.demonstrated, generated
        # Each is alone in an episode of its own, which is none of the demonstrations.
        number = np.arange(len(generated))
        self.episode = np.append(segments.episode, len(self.episodes) + number)
        self.start = np.append(segments.start, np.zeros_like(number))
        steps, first = segments.laid_out()
        self._laid_out = (
            Prompt.cat([steps, generated.singly()]),
            np.append(first, len(steps) + self.steps * number),
        )

    def laid_out(self) -> tuple[Prompt, np.ndarray]:
        """As of all segments: the steps of the generated ones come last."""
        return self._laid_out

    def gather(self, choices: np.ndarray) -> Prompt:
        """As of all segments."""
        steps, first = self._laid_out
        rows = torch.from_numpy(
            (first[np.asarray(choices)][..., None] + np.arange(self.steps)).reshape(len(choices), -1)
        )
        return Prompt(**{name: values[rows].squeeze(2) for name, values in vars(steps).items()})

    def describe(self, segment: int) -> str:
        """A segment in words; of a generated one the timesteps that it was drawn under, and its first return-to-go."""
        number = segment - self.demonstrated
        if number < 0:
            return super().describe(segment)
        first, to_go = (y[number, 0].item() for y in (self.generated.timesteps, self.generated.returns_to_go))
        part = number - len(self.generated) + self.soft
        if part >= 0:
            return f"part {part + 1} of a soft prompt, steps {first + 1}-{first + self.steps}"
        return f"generated segment {number + 1}, steps {first + 1}-{first + self.steps}, return-to-go {to_go:.2f}"


def conditions(prompts: Prompt) -> Tensor:
    """`(B, 2 H)` what a segment is drawn under: returns-to-go, and timesteps in hundreds."""
    return torch.cat([prompts.returns_to_go.squeeze(2), prompts.timesteps / 100], dim=1)


def learned(segments: Segments, policy: Policy) -> tuple[Denoiser, np.ndarray]:
    """A denoiser of the training tasks' segments, from the cache or trained now; and its loss at each update.

    Raises:
        UserError: if the training tasks are not known.
    """
    training, model = segments.training, policy.model
    if training is None:
        raise UserError(
            "`tuning.tuner`: segments are generated after those of the training tasks, which these Segments do not "
            "know. Take them from MultiTaskDataModule.segments, or choose another tuner."
        )
    statistics = {name: getattr(model, name).tolist() for name in STATISTICS}
    constants = [SAMPLE, BATCH, UPDATES, RATE, PASSES, denoising.STEPS, denoising.WIDTH]

    def made() -> bytes:
        pool, rng = training.open(), generator(0, "generated segments", "learning")
        updates = min(UPDATES, PASSES * int(pool.window_offsets[-1]) // BATCH)
        say(f"Learning to generate segments from those of the training tasks, {updates} updates, once for all ...")

        def examples(count: int = BATCH) -> tuple[Tensor, Tensor]:
            u = rng.random((count, 2))
            drawn = pool.prompts(u[:, 1:], (u[:, 0] * len(pool.first_member)).astype(np.int64))
            return as_values(drawn, model), conditions(drawn)

        denoiser = Denoiser(*examples(SAMPLE))
        losses = learn(denoiser, examples, updates, RATE, rng)
        return save({**denoiser.state_dict(), "losses": torch.from_numpy(losses)})

    def write(folder: Path) -> None:
        write_atomically(folder / "denoiser.safetensors", made())

    place = cache.keep("denoiser", [training.source, statistics, constants], write)
    try:
        return _loaded(place, segments, model)
    except (OSError, KeyError, RuntimeError, SafetensorError):  # what is there is not whole
        write(place)
        return _loaded(place, segments, model)


def _loaded(place: Path, segments: Segments, model: PromptDecisionTransformer) -> tuple[Denoiser, np.ndarray]:
    """What `learned` has kept; it takes any two segments to know its sizes."""
    content = load((place / "denoiser.safetensors").read_bytes())
    losses = content.pop("losses").numpy()
    some = segments.gather(np.array([[0], [0]]))
    denoiser = Denoiser(as_values(some, model), conditions(some))
    denoiser.load_state_dict(content)
    return denoiser, losses


@torch.inference_mode(False)
@torch.enable_grad()
def fitted(segments: Segments, policy: Policy, slots: int, weight: float) -> tuple[Denoiser, dict[str, np.ndarray]]:
    """A denoiser that draws segments of the task, and the losses by which it came about, by name.

    Args:
        segments: the task's own.
        policy: whose frozen transformer guides it; it stays as it is.
        slots: `J`, segments in a prompt.
        weight: of guidance.
    """
    denoiser, losses = learned(segments, policy)
    # A copy, since what was made in inference mode cannot take part in gradients.
    model = copy.deepcopy(policy.model).float().eval().requires_grad_(False)
    folded, device, rng = model.folded(), model.state_mean.device, generator(0, "generated segments", "fitting")
    best, length = best_demonstrations(segments.episodes), min(STEPS, policy.context_steps)
    contexts, labels = context_windows(segments.episodes, *spread_windows(segments.episodes, best, length), length)
    contexts, labels = contexts.to(device), labels.to(device)

    def examples() -> tuple[Tensor, Tensor]:
        own = segments.gather(rng.integers(len(segments), size=(BATCH, 1)))
        return as_values(own, model), conditions(own)

    def guidance() -> Tensor:
        like = _best_ones(segments, GUIDED * slots, rng)
        drawn = as_prompts(denoiser.draw(conditions(like), rng), like, model)
        prompts = Prompt(**{name: y.unflatten(0, (GUIDED, slots)).flatten(1, 2) for name, y in vars(drawn).items()})
        some = torch.from_numpy(rng.integers(len(contexts), size=WINDOWS)).to(device)
        predicted = model.answers(prompts.to(device), contexts[some], folded)
        present = contexts.mask[some]
        return (model.errors(predicted, labels[some]) * present).sum() / (GUIDED * present.sum())

    fit = learn(denoiser, examples, FIT_UPDATES, FIT_RATE, rng, guidance, weight)
    return denoiser, {"denoising of all tasks": losses[:, 0], "denoising": fit[:, 0], "guidance": fit[:, 1]}


def _best_ones(segments: Segments, count: int, rng: np.random.Generator) -> Prompt:
    """Random segments of the best demonstrations, as prompts of `H` steps."""
    own = np.flatnonzero(np.isin(segments.episode, best_demonstrations(segments.episodes)))
    own = own if len(own) else np.arange(len(segments))  # those may be shorter than a segment
    return segments.gather(rng.choice(own, size=(count, 1)))


def enlarged(
    segments: Segments,
    policy: Policy,
    slots: int,
    count: int,
    weight: float,
    rng: np.random.Generator,
) -> tuple[Enlarged, dict[str, np.ndarray]]:
    """The task's segments with as many generated ones, and the losses of what drew them.

    They are drawn under the returns-to-go and timesteps of random segments of the best demonstrations.

    Args:
        segments: the task's own.
        policy: whose frozen transformer guides what is drawn.
        slots: `J`, segments in a prompt.
        count: how many are drawn.
        weight: of guidance.
        rng: of the draws.
    """
    key = ("denoiser", slots, weight)
    denoiser, losses = made_once(key, segments, policy, lambda: fitted(segments, policy, slots, weight))
    like = _best_ones(segments, count, rng)
    with torch.inference_mode():
        prompts = as_prompts(denoiser.draw(conditions(like), rng), like, policy.model)
        middle, half = policy.model.action_mid.cpu(), policy.model.action_half.cpu()
        actions = policy.model.actions.decided(prompts.actions.clamp(middle - half, middle + half))
    return Enlarged(segments, Prompt(**{**vars(prompts), "actions": actions})), losses
