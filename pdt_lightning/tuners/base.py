"""Tuner: ask for prompts to try, tell how they did, and recommend the best. As in other black-box optimisers."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from pdt_lightning.core.errors import check_range
from pdt_lightning.core.guests import checked
from pdt_lightning.core.plain import plain
from pdt_lightning.data.minari import Demonstration
from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.rollouts.failures import counted
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.outlook import Outlook
from pdt_lightning.tuners.spaces import Choice, Choices, Space, Tried

OPTIONS = "tuning.tuner_options"  # the group of a tuner's own
SURE = 0.95  # probability at which a search is over


@dataclass(frozen=True)
class Candidate:
    """A prompt to try.

    Args:
        id: by which its outcome is told.
        prompt: one prompt.
        origin: in words, where it comes from.
        choice: segment of each slot, where the prompt consists of the task's segments as they are; else empty.
        predicted: what a model of the outcomes expects of it, before it is tried, in the outcomes' unit; NaN without
            one.
    """

    id: int
    prompt: Prompt
    origin: str
    choice: Choice = ()
    predicted: float = float("nan")


class Tuner(ABC):
    """Finds a prompt for one task from the outcomes of at most `budget` rollouts.

    What a subclass proposes are points of its `space`: choices of segments (`SegmentTuner`), values
    (`values.ValueTuner`), or of a kind of its own (`spaces.Space`).

    Args:
        segments: the arms.
        budget: rollouts that may be asked for.
        rng: its only source of randomness.
        slots: `J`, segments in a prompt.

    Attributes:
        space: what its proposals are points of; a subclass sets it.
        outlook: what is known of the outcomes before any rollout; whoever plays them sets it.
        wants_episodes: whether it is told what was seen and done in its rollouts too, which costs memory; a subclass
            sets it and says in `_learn_episode` what it does with them.
        named: options whose values name something, each with what finds that; a wrong name is refused beforehand.

    Raises:
        UserError: on a negative budget, or no slots.
    """

    space: Space
    outlook = Outlook()
    wants_episodes: bool = False
    named: ClassVar[Mapping[str, Callable[[Any], object]]] = {}

    def __init__(self, segments: Segments, budget: int, rng: np.random.Generator, slots: int):
        check_range("slots", slots, 1)
        check_range("budget", budget, 0)
        self.segments, self.budget, self.rng, self.slots = segments, budget, rng, slots
        self.exploring = budget  # rollouts that explore; later ones, if any, try the best prompts again
        self.asked = 0
        self.pending: dict[int, Any] = {}  # proposals by id
        self.told: list[int] = []  # ids and values of the outcomes, in the order told
        self.values: list[float | None] = []  # None: it failed
        self.outcomes: list[float] = []  # the same, with the failed ones counted as the worst that is known by now

    @classmethod
    def make(
        cls, segments: Segments, budget: int, rng: np.random.Generator, slots: int, policy: Policy, **options: Any
    ) -> Self:
        """Make a tuner from all that any of them may need.

        A constructor with a parameter `policy` after `slots` is given the policy. A tuner that needs something computed
        from the policy, such as features, overrides this method and names its own options as parameters.

        Args:
            segments: see the class.
            budget: likewise.
            rng: likewise.
            slots: likewise.
            policy: that will act; its transformer may be asked about segments.
            **options: the tuner's own: what its constructor takes besides.
        """
        return cls(segments, budget, rng, slots, **({"policy": policy} if cls._takes_policy() else {}), **options)

    @classmethod
    def _takes_policy(cls) -> bool:
        return "policy" in inspect.signature(cls).parameters

    @classmethod
    def check(cls, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """The tuner's own options, checked before any work is done.

        Args:
            name: of the tuner.
            given: by the user.

        Raises:
            UserError: naming the option.
        """
        options = checked(OPTIONS, name, *cls.takes_options(), given)
        for option, find in cls.named.items():
            if option in options:
                find(options[option])
        return options

    @classmethod
    def takes_options(cls) -> tuple[Callable[..., Any], str]:
        """What takes the tuner's own options, and its parameter after which they begin."""
        inherited = cls.make.__func__ is Tuner.make.__func__  # type: ignore[attr-defined]  # a class method has it
        return (cls.__init__, "policy" if cls._takes_policy() else "slots") if inherited else (cls.make, "policy")

    def ask(self, n: int = 1) -> list[Candidate]:
        """At most `n` prompts to try, none when the budget is spent or the search is over; each costs one of it."""
        if self.confidence() >= SURE:
            return []
        candidates = []
        proposals = self._propose(min(n, self.budget - self.asked))
        for proposal, predicted in zip(proposals, self._predict(proposals), strict=True):
            self.pending[self.asked] = proposal
            candidates.append(self._candidate(self.asked, proposal, predicted))
            self.asked += 1
        return candidates

    def tell(
        self, outcomes: Sequence[tuple[int, float | None]], episodes: Mapping[int, Demonstration] | None = None
    ) -> None:
        """How candidates did.

        Args:
            outcomes: pairs of a candidate's id and its value, to be maximised; None: the rollout failed, which counts
                as the worst outcome known, also of those that are known later.
            episodes: by id, what was seen and done, for a tuner that wants it; there is none of what failed.

        Raises:
            KeyError: on an id that was not asked for, or told before.
        """
        for number, value in outcomes:
            proposal = self.pending.pop(number)
            self.told.append(number)
            self.values.append(None if value is None else float(value))
            self.outcomes = self._counted(self.values)
            if value is None:
                self._learn_failure(proposal, self.outcomes[-1])
            else:
                self._learn(proposal, self.outcomes[-1])
            if episodes and number in episodes:
                self._learn_episode(number, self.outcomes[-1], episodes[number])

    @classmethod  # noqa: B027  # most have nothing to do
    def prepare(cls, tuners: Sequence[Self]) -> None:
        """Do work for many tuners of this kind at once, which is faster; called after `tell`.

        A tuner for which it was not called does the same work later, by itself.
        """

    def best(self) -> Candidate:
        """The recommended prompt; its id is -1."""
        return self._candidate(-1, self._best()[0])

    def best_value(self) -> float:
        """What the recommended prompt is thought to be worth, in the outcomes' unit.

        It is NaN before a rollout that could be played.
        """
        return self._best()[1] if any(value is not None for value in self.values) else float("nan")

    def confidence(self) -> float:
        """Probability that the recommended prompt is as good as any, up to a tolerance; at `SURE` the search is over.

        NaN where a tuner says nothing of it, or not yet.
        """
        return float("nan")

    def estimates(self) -> np.ndarray | None:
        """`(J, N)` what is expected of a prompt with a segment in a slot and random ones in the others.

        It is None without a model.
        """
        return None

    def scores(self) -> np.ndarray | None:
        """`(N,)` how well each segment is thought of before the first rollout, in any unit; None if nothing is."""
        return None

    def memory(self) -> list[Tried]:
        """Outcomes that a later phase may `remember`, each with the segments that were tried; none of most."""
        return []

    def remember(self, memory: Sequence[Tried]) -> None:  # noqa: B027  # most start afresh
        """Count outcomes of an earlier phase, whose weights were a little different, like own ones that cost nothing.

        To be called before the first `ask`.

        Args:
            memory: some of what `memory` gave.
        """

    def curves(self) -> Mapping[str, np.ndarray]:
        """What the tuner learned by before the first rollout, each `(steps,)` by its name; none of most."""
        return {}

    def _predict(self, proposals: Sequence[Any]) -> Sequence[float]:
        """What a model of the outcomes expects of proposals; NaN without one."""
        return [float("nan")] * len(proposals)

    @abstractmethod
    def _propose(self, n: int) -> list[Any]:
        """At most `n` proposals."""

    def _learn(self, proposal: Any, value: float) -> None:  # noqa: B027  # some have nothing to do
        """What there is to do on an outcome, beside keeping it."""

    def _learn_failure(self, proposal: Any, worst: float) -> None:
        """What there is to do on a rollout that failed: it is learned as one that brought the worst."""
        self._learn(proposal, worst)

    def _learn_episode(self, number: int, value: float, episode: Demonstration) -> None:  # noqa: B027  # likewise
        """What there is to do on what was seen and done in a rollout, after `_learn`."""

    def _counted(self, values: Sequence[float | None]) -> list[float]:
        """Some of the values told, with the failed ones counted as the worst of all that is known."""
        return counted(values, [self.outlook.worst, *(value for value in self.values if value is not None)])

    @abstractmethod
    def _best(self) -> tuple[Any, float]:
        """The recommended proposal and its estimated value."""

    def _candidate(self, number: int, proposal: Any, predicted: float = float("nan")) -> Candidate:
        """The prompt that a proposal means."""
        space = self.space
        return Candidate(number, space.prompt(proposal), space.describe(proposal), space.made_of(proposal), predicted)

    def state_dict(self) -> dict[str, Any]:
        """Plain values from which `load_state_dict` goes on exactly here, pending candidates included."""
        return {
            "asked": self.asked,
            "pending": [[number, plain(proposal)] for number, proposal in self.pending.items()],
            "told": list(self.told),
            "values": list(self.values),
            "outlook": plain(vars(self.outlook)),
            "rng": plain(self.rng.bit_generator.state),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.asked = state["asked"]
        self.pending = {number: self.space.restored(proposal) for number, proposal in state["pending"]}
        self.told = list(state["told"])
        self.values, self.outlook = list(state["values"]), Outlook(**state["outlook"])
        self.outcomes = self._counted(self.values)
        self.rng.bit_generator.state = state["rng"]


class SegmentTuner(Tuner):
    """Proposes choices: the segment of each slot, by number."""

    space: Choices

    def __init__(self, segments: Segments, budget: int, rng: np.random.Generator, slots: int):
        super().__init__(segments, budget, rng, slots)
        self.space = Choices(segments, slots)
        self.choices: list[Choice] = []  # of the outcomes
        self.pick: Choice = ()  # a recommendation fixed before any outcome; empty for most tuners

    def _learn(self, proposal: Choice, value: float) -> None:
        self.choices.append(proposal)

    def _random_choice(self) -> Choice:
        return self.space.sample(self.rng)

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner, and the choices."""
        return {**super().state_dict(), "choices": plain(self.choices), "pick": list(self.pick)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self.choices = [self.space.restored(choice) for choice in state["choices"]]
        self.pick = tuple(state["pick"])
