"""Denoising diffusion of vectors under a condition: the forward and the reverse process, and how a network learns them.

Source: Ho et al. 2020 (DDPM, arXiv 2006.11239), with the schedule of Wang et al. 2023 (Diffusion-QL, arXiv 2208.06193);
the projected gradient after Hu et al. 2024 (Prompt Diffuser, arXiv 2411.01168), whose code is not public.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pdt_lightning.core.seeding import integer

STEPS = 10  # `N` of the diffusion
LEAST, MOST = 0.1, 10.0  # of the schedule's rate of noise, at the first step and the last
WIDTH = 256  # units in each of three layers
STEP_FEATURES = 16  # of the number of a step


def variance_preserving(steps: int) -> Tensor:
    """`(steps,)` float64 betas: the share of the variance that each step replaces by noise.

    >>> variance_preserving(2).numpy().round(4).tolist()
    [0.724, 0.9768]
    """
    n = torch.arange(1, steps + 1, dtype=torch.float64)
    return 1 - torch.exp(-LEAST / steps - 0.5 * (MOST - LEAST) * (2 * n - 1) / steps**2)


class Denoiser(nn.Module):
    """A perceptron that tells the noise in a noisy vector, and draws vectors from noise alone.

    What it is asked about and what it draws are in the data's own units; it standardises both.

    Args:
        clean: `(M, n)` vectors, whose mean and spread it standardises by.
        condition: `(M, c)` what each is conditioned on, likewise.
        seed: of its first weights.
    """

    kept: Tensor
    added: Tensor
    centre: Tensor
    spread: Tensor
    condition_centre: Tensor
    condition_spread: Tensor

    def __init__(self, clean: Tensor, condition: Tensor, seed: int = 0):
        super().__init__()
        size = clean.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(integer(seed, "denoiser"))
            self.network = nn.Sequential(
                nn.Linear(size + STEP_FEATURES + condition.shape[1], WIDTH),
                nn.Mish(),
                nn.Linear(WIDTH, WIDTH),
                nn.Mish(),
                nn.Linear(WIDTH, WIDTH),
                nn.Mish(),
                nn.Linear(WIDTH, size),
            )
        for prefix, values in (("", clean), ("condition_", condition)):
            spread = values.std(dim=0, correction=0)
            self.register_buffer(f"{prefix}centre", values.mean(dim=0))
            self.register_buffer(f"{prefix}spread", torch.where(spread > 1e-6, spread, 1.0))
        self.betas = variance_preserving(STEPS)
        self.shares = (1 - self.betas).cumprod(0)  # of the variance that are left of the vector after each step
        waves = torch.exp(-math.log(10_000) * torch.arange(STEP_FEATURES // 2) / (STEP_FEATURES // 2 - 1))
        angles = torch.arange(STEPS)[:, None] * waves
        self._of_step = torch.cat([angles.sin(), angles.cos()], dim=1)  # (N, STEP_FEATURES)

    def forward(self, noisy: Tensor, step: Tensor, condition: Tensor) -> Tensor:
        """`(B, n)` the noise in standardised vectors `noisy (B, n)` after `step (B,)`, from 0; `condition (B, c)`."""
        known = (condition - self.condition_centre) / self.condition_spread
        return self.network(torch.cat([noisy, self._of_step[step], known], dim=1))

    def noised(self, clean: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """The forward process: standardised vectors `clean (B, n)` after `step (B,)` with `noise (B, n)` in them."""
        share = self.shares[step, None].float()
        return share.sqrt() * clean + (1 - share).sqrt() * noise

    def loss(self, clean: Tensor, condition: Tensor, rng: np.random.Generator) -> Tensor:
        """Mean squared error of the noise that it tells, each vector `clean (B, n)` after a random step."""
        step, noise = torch.from_numpy(rng.integers(STEPS, size=len(clean))), normal(clean.shape, rng)
        noisy = self.noised((clean - self.centre) / self.spread, step, noise)
        return (self(noisy, step, condition) - noise).square().mean()

    def draw(self, condition: Tensor, rng: np.random.Generator) -> Tensor:
        """The reverse process: `(B, n)` vectors drawn from noise under `condition (B, c)`; gradients pass through."""
        x = normal((len(condition), len(self.centre)), rng)
        for n in reversed(range(STEPS)):
            beta, share, before = (float(y) for y in (self.betas[n], self.shares[n], self.shares[n - 1] if n else 1.0))
            told = self(x, torch.full((len(x),), n), condition)
            x = (x - beta / math.sqrt(1 - share) * told) / math.sqrt(1 - beta)
            if n:
                x = x + math.sqrt(beta * (1 - before) / (1 - share)) * normal(x.shape, rng)
        return x * self.spread + self.centre


def normal(shape: Sequence[int], rng: np.random.Generator) -> Tensor:
    """Standard normal float32 numbers."""
    return torch.from_numpy(rng.standard_normal(tuple(shape), np.float32))


def projected(denoising: Sequence[Tensor], guiding: Sequence[Tensor], weight: float) -> list[Tensor]:
    """The denoising loss's gradient, with what of the guiding one is at right angles to it added.

    So guidance never opposes what the denoiser is there for.

    Args:
        denoising: gradient, one tensor for each parameter.
        guiding: likewise.
        weight: of the guiding one.
    """
    square = sum(float(own.double().square().sum()) for own in denoising)
    along = sum(float((own.double() * other.double()).sum()) for own, other in zip(denoising, guiding, strict=True))
    share = along / square if square else 0.0
    return [own + weight * (other - share * own) for own, other in zip(denoising, guiding, strict=True)]


@torch.inference_mode(False)
@torch.enable_grad()
def learn(
    denoiser: Denoiser,
    examples: Callable[[], tuple[Tensor, Tensor]],
    updates: int,
    rate: float,
    rng: np.random.Generator,
    guidance: Callable[[], Tensor] | None = None,
    weight: float = 1.0,
) -> np.ndarray:
    """Let a denoiser learn, by Adam whose rate falls to zero.

    Args:
        denoiser: its weights change.
        examples: gives vectors `(B, n)` and conditions `(B, c)`, for each update anew.
        updates: how many.
        rate: of Adam, at first.
        rng: of the noise.
        guidance: gives a loss of vectors that it draws, for each update anew; its gradient is `projected`.
        weight: of that.

    Returns:
        `(updates, 1)` float64 denoising loss, or `(updates, 2)` with that of guidance.
    """
    parameters = list(denoiser.parameters())
    optimizer = torch.optim.Adam(parameters, rate, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: 1 - update / updates)
    losses = []
    for _ in range(updates):
        seen = [denoiser.loss(*examples(), rng)]
        gradient: Sequence[Tensor] = torch.autograd.grad(seen[0], parameters)
        if guidance is not None:
            seen.append(guidance())
            # A transformer that ignores prompts has no gradient to give.
            guiding = torch.autograd.grad(seen[1], parameters, allow_unused=True, materialize_grads=True)
            gradient = projected(gradient, guiding, weight)
        for parameter, own in zip(parameters, gradient, strict=True):
            parameter.grad = own
        optimizer.step()
        schedule.step()
        losses.append([loss.item() for loss in seen])
    return np.array(losses)
