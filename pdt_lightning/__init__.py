"""Pretrain a Prompting Decision Transformer on many tasks, then let a bandit find the prompts that work."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pdt_lightning.rollouts.prompted import load

__version__ = "0.1.0"
__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """`load`, imported when it is asked for: torch and Lightning take seconds."""
    if name == "load":
        from pdt_lightning.rollouts.prompted import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
