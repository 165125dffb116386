"""What a bandit knows of a segment before trying it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from pdt_lightning.core.guests import find
from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import OPTIONS

_MADE: WeakKeyDictionary[Segments, WeakKeyDictionary[Policy, dict[Any, Any]]] = WeakKeyDictionary()


def made_once(key: Any, segments: Segments, policy: Policy, make: Callable[[], Any]) -> Any:
    """What is made of segments by a policy, once for as long as both live, neither of which changes.

    Tuners of many budgets and seeds share it, and leave it as it is.

    Args:
        key: of what is made.
        segments: the arms.
        policy: the frozen transformer.
        make: makes it.
    """
    made = _MADE.setdefault(segments, WeakKeyDictionary()).setdefault(policy, {})
    if key not in made:
        made[key] = make()
    return made[key]


def features(kind: str, segments: Segments, policy: Policy) -> np.ndarray:
    """Features of all segments, centred, with a mean squared length of 1.

    Args:
        kind: one of `FEATURES`; an entry point of the group `pdt_lightning.features`; or the path of a function that
            takes `N` prompts and the policy and gives `(N, F)`.
        segments: `N` arms.
        policy: the frozen transformer.

    Returns:
        `(N, F)` float64.

    Raises:
        UserError: on another kind.

    Source: Rietz et al. 2025 (arXiv 2502.06358), section 4; there the raw features are not normalised.
    """
    return made_once(kind, segments, policy, lambda: _made(kind, segments, policy))


def _made(kind: str, segments: Segments, policy: Policy) -> np.ndarray:
    if kind == "encoded":  # the same, several times faster, since segments overlap
        steps, first = segments.laid_out()
        return _scaled(smoothed(policy.encode(at_one_time(steps), first, segments.steps), segments, segments.steps / 4))
    return features_of(kind, segments.gather(np.arange(len(segments))[:, None]), policy)


def features_of(kind: str, prompts: Prompt, policy: Policy) -> np.ndarray:
    """The same of any `N` prompts of equal length, whole: `(N, F)`."""
    return _scaled(np.asarray(feature_maker(kind)(prompts, policy), np.float64))


def feature_maker(kind: str) -> Callable[[Prompt, Policy], np.ndarray]:
    """What makes features of this kind, before they are scaled."""
    return find(f"`{OPTIONS}.features`", kind, FEATURES, "pdt_lightning.features")


def encoded(prompts: Prompt, policy: Policy) -> np.ndarray:
    """`(N, D)` the transformer's hidden state at each prompt's final action token, all read as if at one time."""
    count, length = prompts.mask.shape
    return policy.encode(at_one_time(prompts.singly()), np.arange(count) * length, length)


def at_one_time(steps: Prompt) -> Prompt:
    """The same steps, all at their middle timestep.

    Each timestep has a learned embedding in a direction of its own, and they drown what else a hidden state tells.
    """
    return replace(steps, timesteps=torch.full_like(steps.timesteps, int(steps.timesteps.median())))


def raw(prompts: Prompt, policy: Policy) -> np.ndarray:
    """`(N, F)` each prompt's values, standardised over the prompts."""
    return in_spreads(prompts, len(prompts))


def in_spreads(prompts: Prompt, counted: int) -> np.ndarray:
    """`(N, F)` each prompt's values, in standard deviations over the first so many prompts.

    Args:
        prompts: `N` prompts.
        counted: those whose standard deviation is taken.
    """
    parts = (prompts.returns_to_go, prompts.states, prompts.actions)
    values = np.concatenate([part.flatten(1).double().numpy() for part in parts], axis=1)
    spread = values[:counted].std(axis=0)
    return values / np.where(spread < 1e-9, 1.0, spread)


FEATURES: dict[str, Callable[[Prompt, Policy], np.ndarray]] = {"encoded": encoded, "raw": raw}
FeaturesName = Literal["encoded", "raw"] | str  # one of them, or a guest


def smoothed(values: np.ndarray, segments: Segments, width: float) -> np.ndarray:
    """Averages over neighbouring segments of a demonstration, which share most of their steps.

    Args:
        values: `(N, ...)` of all segments.
        segments: the arms.
        width: standard deviation of the Gaussian weights, in starts.
    """
    ends = np.flatnonzero(np.diff(segments.episode)) + 1
    return np.concatenate([gaussian_filter1d(own, width, axis=0, mode="nearest") for own in np.split(values, ends)])


def _scaled(values: np.ndarray) -> np.ndarray:
    values = values - values.mean(axis=0)
    return values / max(float(np.sqrt(np.square(values).sum(axis=1).mean())), 1e-9)
