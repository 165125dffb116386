"""Plan: what is compared, and the jobs that it takes. All results follow from it."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from pdt_lightning.core.errors import UserError, check_range
from pdt_lightning.core.files import write_atomically
from pdt_lightning.model.checkpoints import weights_of
from pdt_lightning.tuning import oracle
from pdt_lightning.tuning.options import TuningOptions

BUDGETS = (10, 25, 50, 100, 250)  # rollouts after which a recommendation is judged, unless others are asked for
DEFAULT, UNTUNED, FINETUNE, ORACLE = "structured", "uniform", "finetune", "oracle"
ALL = (
    DEFAULT,
    "published",
    "random_search",
    "hill_climbing",
    "zo_rank_sgd",
    "cma_es",
    "elite",
    "triple",
    "neural_ucb",
    "flat",
    FINETUNE,
    "demonstration_loss",
    "best_demonstration",
    "soft_prompt",
    "diffuser",
    UNTUNED,
)
WITHOUT_ROLLOUTS = (FINETUNE, "demonstration_loss", "best_demonstration", "soft_prompt", "diffuser")


@dataclass(frozen=True)
class Job:
    """One entry of a comparison with one checkpoint: a tuner, fine-tuning, or the best found.

    All tasks and seeds of a tuner advance in lockstep, so that batches are full.

    Args:
        checkpoint: its number.
        name: of a tuner, a variant of one, `finetune` or `oracle`.
    """

    checkpoint: int
    name: str

    def file(self, folder: Path) -> Path:
        """Its result."""
        return folder / "jobs" / f"{self.checkpoint}_{re.sub('[^a-z0-9_]+', '-', self.name)}.json"

    def done(self, folder: Path) -> bool:
        """Whether it has left its file."""
        return self.file(folder).is_file()


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Args:
        checkpoints: paths; of several, each is a pretraining of its own.
        tasks: ids.
        names: of tuners, or of variants of the bandit such as `structured:exploration=ucb,credit=whole`; always with
            the untuned.
        seeds: of tuning, 0 to `seeds - 1`.
        slots: `J`, segments in a prompt.
        options: rounds, objective and what the tuners are made with.
        precision: of the transformer.
        width: rows in a forward pass.
        family_options: in place of those that the checkpoints were trained with.
        evaluate_after: rollouts after which recommendations are judged, besides all of them.
        engine: what plays, in each worker process.
        prompt_tokens: how many are remembered of a prompt in a rollout; None: all.

    Raises:
        UserError: naming the option that is out of range.
    """

    checkpoints: tuple[str, ...]
    tasks: tuple[str, ...]
    names: tuple[str, ...]
    seeds: int
    slots: int
    options: TuningOptions
    precision: str
    width: int
    family_options: dict[str, Any] = field(default_factory=dict)
    evaluate_after: tuple[int, ...] = BUDGETS
    engine: str = "pool"
    prompt_tokens: int | None = None

    def __post_init__(self) -> None:
        check_range("`comparison.seeds`", self.seeds, 1, 10_000)
        check_range("`tuning.rounds`", self.options.rounds, 1, 1_000_000)
        for budget in self.evaluate_after:
            check_range("`comparison.budgets`", budget, 1, 1_000_000)
        check_range("`tuning.verdict_episodes`", self.options.verdict_episodes, 1, 1_000_000)
        check_range("`tuning.oracle_candidates`", self.options.oracle_candidates, 1, 1_000_000)
        for name in self.names:
            variant_options(name, self.options)

    @property
    def budgets(self) -> list[int]:
        """Rollouts after which recommendations are judged, the last one being all."""
        rounds = self.options.rounds
        return sorted({*(budget for budget in self.evaluate_after if budget < rounds), rounds})

    def budgets_of(self, name: str) -> list[int]:
        """The same for one way of prompting: 0 where it needs no rollouts, all where it recommends nothing."""
        tuner = name.partition(":")[0]  # of a variant too
        if tuner in (*WITHOUT_ROLLOUTS, ORACLE):
            return [0]
        return [self.options.rounds] if tuner == UNTUNED else self.budgets

    def jobs(self) -> list[Job]:
        """All jobs, checkpoint by checkpoint, since a process that stays with one computes its features once.

        Of each checkpoint the longest come first, so that the processes that share them finish at about the same time,
        and at last the best found, which starts from what the others have tried.
        """
        jobs = [Job(number, name) for number in range(len(self.checkpoints)) for name in (*self.names, ORACLE)]
        return sorted(
            jobs, key=lambda job: (job.checkpoint, job.name == ORACLE, -self.rollouts(job), job.name != "published")
        )

    def ready(self, job: Job, folder: Path) -> bool:
        """Whether a job can begin: that of the best found when all others with its checkpoint are done."""
        return job.name != ORACLE or all(Job(job.checkpoint, name).done(folder) for name in self.names)

    def rollouts(self, job: Job) -> int:
        """Of a job."""
        cells, judged = len(self.tasks) * self.seeds, self.options.verdict_episodes
        if job.name == ORACLE:
            tried = oracle.planned_rollouts(self.options.oracle_candidates, self.options.oracle_episodes)
            return len(self.tasks) * tried + cells * judged
        budgets = self.budgets_of(job.name)
        return cells * (sum(budgets) + judged * len(budgets))

    def as_json(self) -> dict[str, Any]:
        """As JSON, with a digest of each checkpoint in place of where it lies."""
        digests = [
            hashlib.blake2b(weights_of(path).read_bytes(), digest_size=8).hexdigest() for path in self.checkpoints
        ]
        fields = {**asdict(self), "checkpoints": digests}
        fields["after"] = fields.pop("evaluate_after")  # its name in the files of all versions
        return json.loads(json.dumps(fields))


def variant_options(name: str, options: TuningOptions) -> TuningOptions:
    """The options of a tuner or of a variant of one.

    Raises:
        UserError: if there is no such tuner or option.

    >>> variant_options("structured:exploration=ucb", TuningOptions()).tuner_options
    {'exploration': 'ucb'}
    """
    tuner, colon, changes = name.partition(":")
    if tuner == FINETUNE:
        if colon:
            raise UserError(f"`comparison.tuners`={name}: {FINETUNE} takes no options.")
        return options
    tuner_options = (
        {key: yaml.safe_load(value) for key, _, value in (change.partition("=") for change in changes.split(","))}
        if colon
        else {}
    )
    try:
        return replace(options, tuner=tuner, tuner_options=tuner_options)
    except UserError as error:
        raise UserError(f"`comparison.tuners`={name}: {error}") from error


def tuner_names(wanted: list[str]) -> tuple[str, ...]:
    """The names of a plan: `all` stands for `ALL`, none comes twice, and the untuned are always there, to compare with.

    >>> tuner_names(["published", "structured", "published"])
    ('published', 'structured', 'uniform')
    """
    return tuple(dict.fromkeys(tuner for name in [*wanted, UNTUNED] for tuner in (ALL if name == "all" else (name,))))


def claim_folder(folder: Path, plan: Plan) -> None:
    """Make the folder the plan's, or find that it is.

    Raises:
        UserError: if it is another plan's.
    """
    file, described = folder / "plan.json", plan.as_json()
    if not file.is_file():
        write_atomically(file, json.dumps(described, indent=1) + "\n")
        return
    # Earlier versions did not write these.
    earlier: dict[str, Any] = {"family_options": {}, "after": list(BUDGETS), "engine": "pool", "prompt_tokens": None}
    saved_plan = {**earlier, **json.loads(file.read_text())}
    different = [name for name in described if name != "options" and saved_plan.get(name) != described[name]]
    different += [
        name for name, value in described["options"].items() if saved_plan.get("options", {}).get(name) != value
    ]
    if different:
        raise UserError(
            f"`comparison.out`={folder} holds a comparison with other {', '.join(different)}. Name another folder, or "
            "give the same options."
        )
