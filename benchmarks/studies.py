"""The studies: what is pretrained, among which candidates prompts are searched, and when they are judged.

To add a study, write a `Study` and name it in `STUDIES`, which has them in the order of their value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WITHOUT = ("demonstration_loss", "best_demonstration")  # need no rollout
RIVALS = ("structured", "flat", "random_search", "published", *WITHOUT)  # and the untuned, which are always there


@dataclass(frozen=True)
class Setting:
    """Candidates for prompts.

    Args:
        name: for folders and headings.
        text: what they are, in a sentence.
        family_options: that make them.
    """

    name: str
    text: str
    family_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """Pretrainings of one configuration, and tuners compared on them.

    Args:
        title: heading of its page.
        text: what is solved, in a sentence or two.
        config: file in `conf/`.
        settings: each is one comparison.
        minutes: of a pretraining on one core, demonstrations included; measured.
        per_second: rollouts on one core, a tuner's arithmetic included; measured.
        megabytes: of demonstrations, once, and of what a pretraining leaves; measured.
        fit: flags of the pretraining.
        compare: flags of the comparison.
        tuners: that are compared.
        rounds: most rollouts of a search.
        budgets: rollouts after which recommendations are judged, besides all.
        episodes: fresh ones for each recommendation.
        pretrainings: seeds from 0.
        seeds: of tuning, for each task.
        published: figures of papers to stand beside ours, in words.
    """

    title: str
    text: str
    config: str
    settings: tuple[Setting, ...]
    minutes: float
    per_second: float
    megabytes: tuple[float, float]
    fit: tuple[str, ...] = ()
    compare: tuple[str, ...] = ()
    tuners: tuple[str, ...] = RIVALS
    rounds: int = 50
    budgets: tuple[int, ...] = (1, 3, 5, 10, 25)
    episodes: int = 50
    pretrainings: int = 3
    seeds: int = 3
    published: str = ""


EXPERTS = Setting("experts", "Five candidate demonstrations, all by the expert with noise on its actions.")
FIVE_OF_FIFTY = Setting(
    "five_of_fifty",
    "Fifty candidate demonstrations: five by the expert, the others of random actions.",
    {"candidate_demonstrations": 50, "expert_share": 0.1},
)
NO_EXPERT = Setting(
    "no_expert",
    "Ten candidate demonstrations by an earlier stage of the expert, and none by the expert itself.",
    {"candidate_demonstrations": 10, "expert_share": 0.0, "medium_share": 1.0},
)
ONE = Setting("one", "One candidate demonstration alone, by the expert.", {"candidate_demonstrations": 1})

_PUBLISHED_POINT = {
    1: "0.0 ± 2.1 untuned, 5.8 ± 3.8 by hill climbing and 9.9 by Thompson sampling",
    2: "6.3 ± 0.8 untuned, 7.9 ± 1.6 by hill climbing and 9.9 by Thompson sampling",
    4: "8.3 ± 0.6 untuned, 6.2 ± 4.0 by hill climbing and 9.8 by Thompson sampling",
}


def _point(slots: int) -> Study:
    return Study(
        f"Sparse point, {('one', 'two', 'three', 'four')[slots - 1]} segment{'s' * (slots > 1)} in a prompt",
        "Sixteen goals lie behind a common trunk; 13 are trained on and 3 held out. A rollout is like the toss of a "
        "coin: it brings +10 at the task's own goal and -10 at another.",
        "point.yaml",
        (Setting("experts", "Five candidate demonstrations of each goal, whose common trunk says nothing."),),
        minutes=3,
        per_second=900,
        megabytes=(10, 10),
        fit=(f"--data.segments={slots}",),
        # An episode is a coin: with two of each, the best found would be a lucky prompt and not the best.
        compare=("--objective=return", "--parallel=1", "--oracle_episodes=20"),
        tuners=("all",) if slots == 1 else (*RIVALS, "hill_climbing"),
        episodes=60,
        seeds=5 if slots == 1 else 3,
        published=f"Rietz et al. 2025 report, after 250 rollouts: {_PUBLISHED_POINT[slots]}. Their layout is not "
        "published.",
    )


def _locomotion(title: str, text: str, config: str, *settings: Setting, fit: tuple[str, ...] = ()) -> Study:
    """A study whose rollouts wait for the transformer more than for the simulator, so that bf16 and wide rows pay."""
    flags = ("--precision=bf16-true", "--width=32", "--oracle_candidates=50")
    return Study(title, text, config, settings, 40, 30, (300, 20), fit, flags)


def _metaworld(title: str, text: str, config: str, *fit: str, minutes: float = 20) -> Study:
    return Study(title, text, config, (EXPERTS,), minutes, 6, (500, 20), fit, ("--oracle_candidates=50",), episodes=25)


STUDIES = {
    "point_j1": _point(1),
    "point_j2": _point(2),
    "point_j4": _point(4),
    "half_cheetah_vel": _locomotion(
        "Half-cheetah velocity",
        "Run at a velocity that no observation shows; 35 velocities are trained on and 5 held out. A prompt has two "
        "segments of 20 steps.",
        "half_cheetah_vel.yaml",
        FIVE_OF_FIFTY,
        EXPERTS,
        NO_EXPERT,
        ONE,
    ),
    "metaworld": _metaworld(
        "Meta-World ML1, pick-place",
        "Carry an object to a goal that no observation shows; 195 goals are trained on and 5 held out. A prompt is "
        "one segment of five steps.",
        "metaworld.yaml",
    ),
    "ant_dir": _locomotion(
        "Ant direction",
        "Walk in a direction that no observation shows; 45 directions are trained on and 5 held out. A prompt is one "
        "segment of five steps.",
        "ant_dir.yaml",
        FIVE_OF_FIFTY,
        EXPERTS,
    ),
    "ml10": _metaworld(
        "Meta-World ML10",
        "Ten classes of manipulation are trained on, with ten goals of each; five goals of each of the five held-out "
        "classes are tuned.",
        "ml10.yaml",
        "--data.family_options.heldout_goals=5",
        minutes=25,
    ),
    "push": _metaworld(
        "Meta-World ML1, push",
        "Push an object to a goal that no observation shows.",
        "metaworld.yaml",
        "--data.family_options.env_name=push-v3",
    ),
    "reach": _metaworld(
        "Meta-World ML1, reach",
        "Reach for a goal that no observation shows.",
        "metaworld.yaml",
        "--data.family_options.env_name=reach-v3",
    ),
    "ant_dir_ood": _locomotion(
        "Ant direction, outside of what was trained on",
        "Eight directions are trained on, and three outside of the arcs between them are held out.",
        "ant_dir.yaml",
        FIVE_OF_FIFTY,
        EXPERTS,
        fit=("--data.family_options.split=ood",),
    ),
    "half_cheetah_dir": _locomotion(
        "Half-cheetah direction",
        "Run forward or backward; both are trained on and both are tuned.",
        "half_cheetah_dir.yaml",
        EXPERTS,
    ),
    "mt10": _metaworld(
        "Meta-World MT10",
        "Ten classes of manipulation are trained on; what is held out are goals.",
        "ml10.yaml",
        "--data.family_options.benchmark=MT10",
        minutes=25,
    ),
    "ml45": _metaworld(
        "Meta-World ML45",
        "Forty-five classes of manipulation are trained on, and five others are held out.",
        "ml10.yaml",
        "--data.family_options.benchmark=ML45",
        minutes=45,
    ),
}
