"""How prompts are tuned and judged, as a user says it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pdt_lightning.core.plain import plain
from pdt_lightning.core.ranges import check_types, number
from pdt_lightning.tuners import tuner_class
from pdt_lightning.tuning.objective import Option

if TYPE_CHECKING:
    Count = int
    CountOrNone = int
else:
    Count = number(int, 1, 1_000_000)
    CountOrNone = number(int, 0, 1_000_000)


@dataclass
class TuningOptions:
    """How prompts are tuned and judged.

    Args:
        tuner: `structured`, the bandit; `uniform`, no tuning; or a rival: `published`, `random_search`,
            `hill_climbing`, `zo_rank_sgd`, `cma_es`, `elite`, `triple`, `neural_ucb`, `flat`; or one that spends no
            rollout: `demonstration_loss`, `best_demonstration`, `soft_prompt`, `diffuser`; or one of your own, by the
            path of its class, such as `my_package.Mine`.
        tuner_options: of that tuner, such as `{exploration: ucb}`. `structured` takes `features` (`encoded` by the
            transformer, or `raw` values), `reward_model` (`linear`), `exploration` (`thompson`, `ucb`,
            `epsilon_greedy`, `sparsemax`), `credit` (each slot of a prompt has its `own` share of the return, or the
            `whole`, as published), `prior` (what the `demonstrations` tell before the first rollout, or `none`),
            `tolerance` (how near to the best a prompt has to be for the search to end early; 0: it never does),
            `medoids` (rollouts that begin a search with the medoids of clusters of segments), `generated` (segments
            drawn by the denoiser of `diffuser` that are tried too) and `soft` (whether the prompt of `soft_prompt` is
            tried first); `flat` takes the first three. What they name may be yours too, by its path.
        rounds: rollouts that the tuner may spend on a task; 0: prompts are chosen from what the demonstrations tell.
        parallel: rollouts of a task between two fits of the tuner.
        objective: `return`; `success`, the highest of an episode, ties broken by return; `success_only`, without that;
            `auto`: `success` where the environment reports it, else `return`, decided for each task before its first
            rollout.
        yardstick_episodes: untuned episodes of a task before tuning, each with a random prompt.
        verdict_episodes: fresh episodes on which the recommended prompt is judged, and as many untuned ones; 0: none.
        oracle_candidates: random prompts tried at the end of a run, which compete with all that tuning has tried for
            the best found; 0: none.
        oracle_episodes: episodes of each random prompt. Then a quarter as many prompts, the best of these and of all
            that tuning tried, get as many again; at last a sixteenth as many get twice as many.
        videos: held-out tasks to film at the end of a run, untuned and tuned side by side; 0: none.
        seed: of tuning and of its episodes.
        verdict_seed: of the fresh episodes of the verdict, whatever `seed` is: judge what was chosen by its tables with
            another.
    """

    tuner: str = "structured"
    tuner_options: dict[str, Any] | None = None
    rounds: CountOrNone = 100
    parallel: Count = 1
    objective: Option = "auto"
    yardstick_episodes: Count = 10
    verdict_episodes: CountOrNone = 25
    oracle_candidates: CountOrNone = 100
    oracle_episodes: Count = 2
    videos: CountOrNone = 0
    seed: int = 0
    verdict_seed: int = 0

    def __post_init__(self) -> None:
        vars(self).update(plain(vars(self)))  # a NumPy number among them would make checkpoints that cannot be read
        self.tuner_options = tuner_class(self.tuner).check(self.tuner, self.tuner_options or {})
        check_types("tuning", TuningOptions, vars(self))
