"""What is tried: a frozen model with a prompt plays episodes, and says what came of them."""

from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Outcome, Row, rollout

__all__ = ["Outcome", "Policy", "Row", "rollout"]
