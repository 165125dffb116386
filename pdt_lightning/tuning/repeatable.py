"""The arithmetic of rollouts and tuners, in a form that comes out alike wherever it is done."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits

from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import one_thread


@contextmanager
def repeatable(policy: Policy) -> Iterator[None]:
    """Compute in the policy's own precision and on one thread while it lasts.

    Encoding and a bandit's linear algebra too run on one thread, or ranks with other numbers of threads would differ.
    """
    with torch.autocast(policy.model.state_mean.device.type, enabled=False), one_thread(), threadpool_limits(1):
        yield
