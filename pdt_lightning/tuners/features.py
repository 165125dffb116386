"""What a bandit knows of a segment before trying it."""

import numpy as np

from pdt_lightning.core.errors import check_choice
from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.rollouts.policy import Policy


def features(kind: str, segments: Segments, policy: Policy) -> np.ndarray:
    """Features of all segments, centred, with a mean squared length of 1.

    Args:
        kind: `encoded`: the transformer's hidden state at the segment's final action token; `raw`: the segment's values,
            each standardised over the segments.
        segments: `N` arms.
        policy: the frozen transformer.

    Returns:
        `(N, F)` float64.

    Raises:
        UserError: on another kind.

    Source: Rietz et al. 2025 (arXiv 2502.06358), section 4; there the raw features are not normalised.
    """
    if kind == "encoded":
        return _scaled(policy.encode(*segments.laid_out(), segments.steps))
    return features_of(kind, segments.gather(np.arange(len(segments))[:, None]), policy)


def features_of(kind: str, prompts: Prompt, policy: Policy) -> np.ndarray:
    """The same of any `N` prompts of equal length, whole: `(N, F)`."""
    check_choice("--tuning.features", kind, ("encoded", "raw"))
    if kind == "encoded":
        count, length = prompts.mask.shape
        return _scaled(policy.encode(prompts.singly(), np.arange(count) * length, length))
    parts = (prompts.returns_to_go, prompts.states, prompts.actions)
    values = np.concatenate([part.flatten(1).double().numpy() for part in parts], axis=1)
    spread = values.std(axis=0)
    return _scaled(values / np.where(spread < 1e-9, 1.0, spread))


def _scaled(values: np.ndarray) -> np.ndarray:
    values = values - values.mean(axis=0)
    return values / max(float(np.sqrt(np.square(values).sum(axis=1).mean())), 1e-9)
