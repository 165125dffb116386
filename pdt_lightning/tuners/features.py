"""What a bandit knows of a segment before trying it."""

from collections.abc import Callable

import numpy as np

from pdt_lightning.core.guests import find
from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import OPTIONS


def features(kind: str, segments: Segments, policy: Policy) -> np.ndarray:
    """Features of all segments, centred, with a mean squared length of 1.

    Args:
        kind: one of `FEATURES`; an entry point of the group `pdt_lightning.features`; or the path of a function that takes `N`
            prompts and the policy and gives `(N, F)`.
        segments: `N` arms.
        policy: the frozen transformer.

    Returns:
        `(N, F)` float64.

    Raises:
        UserError: on another kind.

    Source: Rietz et al. 2025 (arXiv 2502.06358), section 4; there the raw features are not normalised.
    """
    if kind == "encoded":  # the same, several times faster, since segments overlap
        return _scaled(policy.encode(*segments.laid_out(), segments.steps))
    return features_of(kind, segments.gather(np.arange(len(segments))[:, None]), policy)


def features_of(kind: str, prompts: Prompt, policy: Policy) -> np.ndarray:
    """The same of any `N` prompts of equal length, whole: `(N, F)`."""
    return _scaled(np.asarray(feature_maker(kind)(prompts, policy), np.float64))


def feature_maker(kind: str) -> Callable[[Prompt, Policy], np.ndarray]:
    """What makes features of this kind, before they are scaled."""
    return find(f"`{OPTIONS}.features`", kind, FEATURES, "pdt_lightning.features")


def encoded(prompts: Prompt, policy: Policy) -> np.ndarray:
    """`(N, D)` the transformer's hidden state at each prompt's final action token."""
    count, length = prompts.mask.shape
    return policy.encode(prompts.singly(), np.arange(count) * length, length)


def raw(prompts: Prompt, policy: Policy) -> np.ndarray:
    """`(N, F)` each prompt's values, standardised over the prompts."""
    parts = (prompts.returns_to_go, prompts.states, prompts.actions)
    values = np.concatenate([part.flatten(1).double().numpy() for part in parts], axis=1)
    spread = values.std(axis=0)
    return values / np.where(spread < 1e-9, 1.0, spread)


FEATURES: dict[str, Callable[[Prompt, Policy], np.ndarray]] = {"encoded": encoded, "raw": raw}


def _scaled(values: np.ndarray) -> np.ndarray:
    values = values - values.mean(axis=0)
    return values / max(float(np.sqrt(np.square(values).sum(axis=1).mean())), 1e-9)
