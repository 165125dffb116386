"""The engines by name, ours and those of others."""

from pdt_lightning.core.guests import find
from pdt_lightning.core.processes import cores_of_rank
from pdt_lightning.rollouts.engine import RolloutEngine
from pdt_lightning.rollouts.pool import RolloutPool

ENGINES: dict[str, type[RolloutEngine]] = {"pool": RolloutPool}


def engine_class(name: str) -> type[RolloutEngine]:
    """The engine called `name`.

    It is one of `ENGINES`, of an installed package (entry points `pdt_lightning.engines`), or a class path.

    Raises:
        UserError: if there is none, or it is no engine.
    """
    return find("`tuning.engine`", name, ENGINES, "pdt_lightning.engines", RolloutEngine)


def make_engine(
    name: str, workers: int | None, width: int, step_timeout: float | None = 300.0, ranks: int = 1
) -> RolloutEngine:
    """The engine called `name`, ready to play.

    Args:
        name: see `engine_class`.
        workers: see `RolloutEngine`; None: one for each core of this rank's share.
        width: likewise.
        step_timeout: likewise.
        ranks: that share the cores, see `cores_of_rank`.
    """
    return engine_class(name)(cores_of_rank(ranks) if workers is None else workers, width, step_timeout)
