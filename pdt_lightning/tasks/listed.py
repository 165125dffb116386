"""A user's own Minari datasets as tasks, listed in the YAML, without code."""

from collections.abc import Mapping
from typing import Any

from gymnasium.envs.registration import EnvSpec

from pdt_lightning.core.errors import UserError, check_choice, check_range, suggestion
from pdt_lightning.tasks import recorded, specifications
from pdt_lightning.tasks.base import Task, TaskFamily
from pdt_lightning.tasks.recorded import Recorded

OPTIONS = ("id", "training_data", "prompt_data", "horizon", "target_return", "return_scale", "environment")
ENVIRONMENTS = ("evaluation", "recorded")


class ListedFamily(TaskFamily):
    """Tasks given by their datasets; the environment is the one that each dataset names.

    Each entry is a mapping: `id`; `training_data` (for training tasks) and `prompt_data` (for tasks that are tuned),
    each a list of Minari ids; where the demonstrations should not decide them, `horizon` (longest episode, as far as
    the environment's own limit), `target_return` (highest demonstrated return over the horizon) and `return_scale` (the
    target's size, at least 1); and `environment`, `evaluation` (the one that a dataset names for that, if it names one)
    or `recorded`.

    Args:
        training: tasks to train on, each a mapping.
        held_out: tasks whose prompts are tuned, likewise.
    """

    def __init__(self, training: list, held_out: list):
        if not training:
            raise UserError("`data.family_options.training` is empty: list at least one task to train on.")
        self._versions: dict[str, tuple[str, EnvSpec]] = {}  # by name without version, a dataset and what it names
        self._trained: dict[str, int | None] = {}  # horizons
        self.training_tasks = tuple(self._task(entry, "training", "training_data") for entry in training)
        self._trained = {task.id: task.horizon for task in self.training_tasks}
        self.heldout_tasks = tuple(self._task(entry, "held_out", "prompt_data") for entry in held_out)

    def _task(self, entry: Mapping[str, Any], group: str, needed: str) -> Task:
        check_entry(entry, f"`data.family_options.{group}`", needed)
        training_data, prompt_data = (tuple(entry.get(key) or ()) for key in ("training_data", "prompt_data"))
        known = [recorded.of(name) for name in (*training_data, *prompt_data)]
        for one in known:
            recorded.supported(f"Minari dataset {one.id}", *one.spaces)
        only_recorded = entry.get("environment") == "recorded"
        first = known[0]
        environment = first.spec(only_recorded)
        identity = specifications.identity(environment)
        for one in known:
            spec = one.spec(only_recorded)
            self._check_same(one, spec, specifications.identity(spec), first, environment, identity)
        deciding = known[: len(training_data)] or known  # what a task is trained on decides, where there is any
        limit = min([max(one.longest for one in deciding), *specifications.limits(environment)])
        return Task(
            id=str(entry["id"]),
            env_id=environment,
            horizon=(self._trained.get(str(entry["id"])) or limit)
            if entry.get("horizon") is None
            else int(entry["horizon"]),
            target_return=entry.get("target_return"),
            return_scale=entry.get("return_scale"),
            training_data=training_data,
            prompt_data=prompt_data,
            reset_options=tuple(dict.fromkeys(options for one in known for options in one.reset_options)),
            requirements=tuple(dict.fromkeys(need for one in known for need in one.requirements)),
        )

    def _check_same(
        self,
        one: Recorded,
        spec: EnvSpec,
        own: dict[str, Any],
        first: Recorded,
        expected: EnvSpec,
        identity: dict[str, Any],
    ) -> None:
        """Datasets of one task share all that makes an environment what it is; those of all tasks share versions."""
        if own != identity:
            different = [key for key in own if own[key] != identity.get(key)]
            ours, theirs = (", ".join(f"{key} {values[key]}" for key in different) for values in (own, identity))
            raise UserError(
                f"{one.id} was recorded in {spec.id} with {ours}, but {first.id} of the same task in {expected.id} "
                f"with {theirs}. List datasets of one environment, or make two tasks of them."
            )
        other, known = self._versions.setdefault(f"{spec.namespace}/{spec.name}", (one.id, spec))
        if known.version != spec.version:
            raise UserError(
                f"{one.id} was recorded in {spec.id}, but {other} in {known.id}. Use datasets of one version of an "
                "environment."
            )


def check_entry(entry: Any, option: str, needed: str) -> None:
    """Refuse an entry of the list that does not say what it has to, or says what makes no sense.

    Args:
        entry: of a task.
        option: that it is listed under.
        needed: the key under which its data have to be.

    Raises:
        UserError: naming the option, the task and the key.
    """
    if not isinstance(entry, Mapping):
        raise UserError(
            f"{option}: {entry!r} is no task. Give a mapping, such as {{id: door/a, {needed}: [me/door-a-v0]}}."
        )
    if wrong := sorted(map(str, set(entry) - set(OPTIONS))):
        raise UserError(
            f"{option}: {wrong[0]} is not known. A task takes: {', '.join(OPTIONS)}.{suggestion(wrong[0], OPTIONS)}"
        )
    if missing := [key for key in ("id", needed) if entry.get(key) in (None, "", [], ())]:
        raise UserError(f"{option}: a task lacks {missing[0]}. It is {dict(entry)}.")
    for key in ("training_data", "prompt_data"):
        names = entry.get(key)
        if names is not None and (isinstance(names, str) or not all(isinstance(name, str) for name in names)):
            raise UserError(f"{option}: {key} of {entry['id']} is {names!r}. Give a list of Minari ids: [{names}].")
    numbers = {key: entry[key] for key in ("horizon", "target_return", "return_scale") if entry.get(key) is not None}
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or (key == "horizon" and value != int(value)):
            raise UserError(
                f"{option}: {key}={value!r} of {entry['id']}: give {'a whole' if key == 'horizon' else 'a'} number."
            )
    check_range(f"{option}: horizon of {entry['id']}", numbers.get("horizon", 1), 1, 1_000_000)
    check_range(f"{option}: target_return of {entry['id']}", numbers.get("target_return", 0))
    check_range(f"{option}: return_scale of {entry['id']}", numbers.get("return_scale", 1), 0, above=True)
    check_choice(f"{option}: environment of {entry['id']}", entry.get("environment", ENVIRONMENTS[0]), ENVIRONMENTS)
