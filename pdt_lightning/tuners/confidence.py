"""How sure it is that a prompt is as good as any, so that a search ends when there is nothing left to find out.

What is to be reached is what the best demonstrations show. The mean of a prompt's outcomes is uncertain: they are
taken to be normal, with a scaled inverse chi-squared prior on their variance. A few equal outcomes do not yet make a
prompt reliable, even less if other prompts have failed.

Source: Gelman et al. 2013, section 3.3, for the posterior; MoPPS (arXiv 2507.04632) for sparing rollouts by it. The
constants were set on goals of the sparse point that were left out of training for this alone.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

PRIOR_OUTCOMES = 2.0  # the prior weighs as much as this many outcomes, in the variance and in the mean's standard error
PRIOR_SPREAD = 4.0  # prior standard deviation of one outcome, in units of the tolerance
COMMON = 0.2  # share of all outcomes' mean squared shortfall from the best that is added to the prior variance


def confidence(own: Sequence[float], outcomes: Sequence[float], best: float, tolerance: float) -> float:
    """Probability that a prompt is worth no less than the best, up to a tolerance.

    Args:
        own: outcomes of the prompt.
        outcomes: of all prompts that were tried, these among them.
        best: value to be reached, in their unit.
        tolerance: > 0, in their unit.

    >>> [round(confidence([1.0] * n, [1.0] * n, 1.0, 0.05), 2) for n in (1, 4, 8)]
    [0.7, 0.86, 0.96]
    """
    count, mean = len(own), float(np.mean(own))
    missed = float(np.square(np.maximum(best - np.asarray(outcomes), 0.0)).mean())
    prior = (PRIOR_SPREAD * tolerance) ** 2 + COMMON * missed
    spread = (PRIOR_OUTCOMES * prior + float(np.square(np.asarray(own) - mean).sum())) / (PRIOR_OUTCOMES + count)
    return float(ndtr((mean - best + tolerance) / np.sqrt(spread / (PRIOR_OUTCOMES + count))))
