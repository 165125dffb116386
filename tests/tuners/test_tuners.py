import copy
import json
from typing import get_args

import numpy as np
import pytest

from pdt_lightning.comparison.plan import WITHOUT_ROLLOUTS
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners import TUNERS, SegmentTuner, make_tuner
from pdt_lightning.tuners.exploration import EXPLORATIONS, EpsilonGreedy, ExplorationName
from pdt_lightning.tuners.features import FEATURES, FeaturesName, features
from pdt_lightning.tuners.prior import PRIORS, PriorName
from pdt_lightning.tuners.recommend import SequentialHalving, by_choice, worth
from pdt_lightning.tuners.reward_models import REWARD_MODELS, LinearModel, RewardModelName
from pdt_lightning.tuners.structured import StructuredBandit
from tests.conftest import untrained

VARIANTS = [
    {"name": "structured"},
    {"name": "structured", "exploration": "epsilon_greedy", "features": "raw", "prior": "none"},
    {"name": "structured", "exploration": "ucb", "credit": "whole", "prior": "none"},
    {"name": "structured", "exploration": "sparsemax"},
    {"name": "neural_ucb", "starts": 3},
    {"name": "cma_es", "population": 4, "dimension": 3},
    *({"name": name, "average": "gaussian", "keep_start": True} for name in ("hill_climbing", "zo_rank_sgd", "cma_es")),
    *({"name": name} for name in TUNERS if name not in ("structured", *WITHOUT_ROLLOUTS)),
]


@pytest.fixture(scope="module")
def point_policy(point_data):
    """In one form of attention: a tuner sees no more of it than the features."""
    return Policy(untrained(point_data, attention="window").model, 5)


def tuner(segments, policy, budget=12, seed=0, slots=2, **options):
    return make_tuner(options.pop("name"), segments, budget, np.random.default_rng(seed), slots, policy, **options)


def play(candidate):
    """A value that follows from the prompt."""
    return float((40 * candidate.prompt.states[0, :3]).sin().sum() + 0.1 * candidate.prompt.actions[0, 3:].sum())


def same(ours, theirs):
    return (ours.origin, ours.choice, ours.predicted, ours.prompt.tobytes()) == (
        theirs.origin,
        theirs.choice,
        theirs.predicted,
        theirs.prompt.tobytes(),
    )


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_it_spends_its_budget_and_no_more(segments, point_policy, options):
    made = tuner(segments, point_policy, **dict(options))
    ids = []
    while candidates := made.ask(5):
        ids += [candidate.id for candidate in candidates]
        assert len(candidates) <= 5
        assert all(candidate.prompt.states.shape == (1, 6, 2) for candidate in candidates)
        made.tell([(candidate.id, play(candidate)) for candidate in candidates])
    assert ids == list(range(12))
    assert made.ask(1) == []
    assert np.isfinite(made.best_value())
    assert made.best().prompt.states.shape == (1, 6, 2)
    assert made.best().origin.count("of demonstration") == 2
    assert bool(made.best().choice) == isinstance(made, SegmentTuner)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_it_follows_from_its_seed(segments, point_policy, options):
    def tried(seed):
        made, prompts = tuner(segments, point_policy, seed=seed, **dict(options)), []
        while candidates := made.ask(2):
            prompts += [candidate.prompt.tobytes() for candidate in candidates]
            made.tell([(candidate.id, play(candidate)) for candidate in candidates])
        return [*prompts, made.best().prompt.tobytes()]

    assert tried(0) == tried(0) != tried(1)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("stop", [0, 1, 5, 10])
def test_restored_it_goes_on_exactly_even_with_outcomes_pending(segments, point_policy, options, stop):
    whole, part = tuner(segments, point_policy, **dict(options)), tuner(segments, point_policy, **dict(options))
    for _ in range(stop):
        for made in (whole, part):
            for candidate in made.ask(1):
                made.tell([(candidate.id, play(candidate))])
    pending = whole.ask(2), part.ask(2)
    state = json.loads(json.dumps(part.state_dict()))  # plain values survive any format
    restored = tuner(segments, point_policy, seed=99, **dict(options))
    restored.load_state_dict(state)
    for made, asked in ((whole, pending[0]), (restored, pending[1])):
        made.tell([(candidate.id, play(candidate)) for candidate in reversed(asked)])
        while candidates := made.ask(2):
            made.tell([(candidate.id, play(candidate)) for candidate in candidates])
    assert restored.outcomes == whole.outcomes
    assert same(restored.best(), whole.best())
    assert restored.best_value() == whole.best_value()


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_failed_rollouts_cost_budget_and_count_as_the_worst_known(segments, point_policy, options):
    made = tuner(segments, point_policy, **dict(options))
    asked = 0
    while candidates := made.ask(3):
        asked += len(candidates)
        made.tell([(candidate.id, None if candidate.id % 3 else 5.0 - candidate.id) for candidate in candidates])
    assert asked == 12
    assert sorted(made.outcomes) == [-4.0] * 9 + [-1.0, 2.0, 5.0]  # those that failed before the worst was seen too
    nothing = tuner(segments, point_policy, **dict(options))
    while candidates := nothing.ask(3):
        nothing.tell([(candidate.id, None) for candidate in candidates])
    assert np.isnan(nothing.best_value())
    assert nothing.best().prompt.states.isfinite().all()


@pytest.mark.parametrize("name", TUNERS)
def test_restored_before_any_outcome_it_recommends_the_same(segments, point_policy, name):
    made, restored = (tuner(segments, point_policy, seed=seed, name=name) for seed in (0, 1))
    restored.load_state_dict(json.loads(json.dumps(made.state_dict())))
    assert restored.best().prompt.tobytes() == made.best().prompt.tobytes()


def test_asked_one_by_one_nothing_is_tried_twice_while_outcomes_are_open(segments, point_policy):
    made = tuner(segments, point_policy, budget=40, name="structured", exploration="ucb")
    made.tell([(candidate.id, play(candidate)) for candidate in made.ask(6)])
    assert len({made.ask(1)[0].choice for _ in range(5)}) == 5


def test_an_outcome_is_told_once(segments, point_policy):
    made = tuner(segments, point_policy, name="uniform")
    made.tell([(made.ask()[0].id, 1.0)])
    with pytest.raises(KeyError):
        made.tell([(0, 1.0)])


@pytest.mark.parametrize("name", ["structured", "published"])
def test_segments_are_encoded_once_for_tuners_of_all_budgets_and_seeds(segments, point_policy, monkeypatch, name):
    made, encoded = [], []
    for part in ("laid_out", "gather"):
        own = getattr(type(segments), part)
        monkeypatch.setattr(type(segments), part, lambda self, *args, own=own: encoded.append(own) or own(self, *args))
    counts = []
    for budget, seed in ((5, 0), (10, 0), (10, 1)):
        made.append(tuner(segments, point_policy, budget=budget, seed=seed, name=name))
        counts.append(len(encoded))
    assert counts[0] > 0
    assert counts == [counts[0]] * 3
    inputs = [one.model.features[:, :4] for one in made]
    assert np.array_equal(inputs[0], inputs[1])
    assert np.array_equal(inputs[0], inputs[2])
    other = Policy(copy.deepcopy(point_policy.model), 5)
    tuner(segments, other, name=name)
    assert len(encoded) == 2 * counts[0]


@pytest.mark.parametrize("name", TUNERS)
def test_a_budget_of_nothing_is_allowed(segments, point_policy, name):
    made = tuner(segments, point_policy, budget=0, name=name)
    assert made.ask(3) == []
    assert np.isnan(made.best_value())
    assert made.best().prompt.states.shape == (1, 6, 2)


MODELLED = [options for options in VARIANTS if options["name"] in ("structured", "flat", "published")]


@pytest.mark.parametrize("options", MODELLED, ids=str)
def test_parallel_proposals_are_distinct(segments, point_policy, options):
    made = tuner(segments, point_policy, budget=40, **dict(options))
    for _ in range(5):
        candidates = made.ask(4)
        assert len({candidate.choice for candidate in candidates}) == 4
        made.tell([(candidate.id, play(candidate)) for candidate in candidates])


@pytest.mark.parametrize("exploration", EXPLORATIONS)
def test_the_bandit_beats_random_search_where_features_tell_and_outcomes_are_coins(segments, exploration):
    """Outcomes of 0 or 1 whose chance rises with one feature; the mean true worth of what is recommended, by seeds."""
    seeds = 10
    rng = np.random.default_rng(5)
    count = len(segments)
    arms = rng.normal(size=(count, 3)) / np.sqrt(3)
    chance = 1 / (1 + np.exp(-6 * (arms[:, 0] - 0.4)))

    def recommended(make):
        found = []
        for seed in range(seeds):
            made, coin = make(np.random.default_rng(seed)), np.random.default_rng(1000 + seed)
            while candidates := made.ask(4):
                made.tell([(c.id, float(coin.random() < chance[c.choice[0]])) for c in candidates])
            found.append(chance[made.best().choice[0]])
        return float(np.mean(found))

    ours = recommended(lambda rng: StructuredBandit(segments, 60, rng, 1, arms, exploration=exploration))
    theirs = recommended(lambda rng: TUNERS["random_search"](segments, 60, rng, 1))
    drawn = recommended(lambda rng: TUNERS["uniform"](segments, 60, rng, 1))
    assert chance.max() > 0.9
    assert ours > 0.8
    assert ours > drawn + 0.3
    assert theirs > drawn


def test_a_prompt_that_was_never_tried_is_not_recommended(segments):
    """The linear model extrapolates; the recommendation rests on rollouts."""
    rng = np.random.default_rng(0)
    made = StructuredBandit(segments, 8, rng, 1, rng.normal(size=(len(segments), 3)))
    while candidates := made.ask():
        made.tell([(candidate.id, rng.normal()) for candidate in candidates])
    assert made.best().choice in made.choices


def test_epsilon_falls_from_one_to_zero_over_the_first_fifth():
    model = LinearModel(np.eye(50), 1)
    model._mean[0, 7] = 1.0
    explore = EpsilonGreedy()

    def greedy(progress):
        return np.mean(
            [explore.choose(model, progress, np.random.default_rng(seed), ()) == (7,) for seed in range(500)]
        )

    assert greedy(0.0) < 0.1
    assert greedy(0.1) == pytest.approx(0.5, abs=0.1)
    assert greedy(0.2) == 1.0


def test_the_finalists_are_halved():
    schedule = SequentialHalving(24)
    assert schedule.stages == [(8, 8), (4, 8), (2, 8)]
    estimates = {(n,): 1.0 - n / 100 for n in range(20)}
    counts = dict.fromkeys(estimates, 1)
    tried = []
    for retrial in range(24):
        choice = schedule.next(retrial, estimates, counts)
        counts[choice] += 1
        tried.append(choice[0])
    assert sorted(tried[:8]) == list(range(8))
    assert sorted(tried[8:16]) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert sorted(tried[16:]) == [0] * 4 + [1] * 4


def test_small_reserves_keep_fewer_finalists():
    assert SequentialHalving(0).stages == [(1, 0)]
    assert SequentialHalving(1).stages == [(1, 1)]
    assert SequentialHalving(2).stages == [(2, 2)]
    assert SequentialHalving(9).stages == [(4, 4), (2, 5)]


def test_one_lucky_rollout_does_not_win():
    assert worth(0.2, [1.0]) < worth(0.6, [1.0, 1.0, 1.0, 0.0])
    assert by_choice([(1,), (2,), (1,)], [1.0, 2.0, 3.0]) == {(1,): [1.0, 3.0], (2,): [2.0]}


@pytest.mark.parametrize(
    ("named", "table"),
    [(FeaturesName, FEATURES), (ExplorationName, EXPLORATIONS), (RewardModelName, REWARD_MODELS), (PriorName, PRIORS)],
)
def test_help_names_all_there_are(named, table):
    choices = get_args(named)
    assert list(get_args(choices[0]) if str in choices else choices) == list(table)


@pytest.mark.parametrize("kind", ["encoded", "raw"])
def test_features_are_centred_and_of_unit_size(segments, point_policy, kind):
    values = features(kind, segments, point_policy)
    assert values.shape == (len(segments), {"encoded": 16, "raw": 3 * (2 + 2 + 1)}[kind])
    assert values.dtype == np.float64
    assert values.mean(axis=0) == pytest.approx(0, abs=1e-9)
    assert np.square(values).sum(axis=1).mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "magic"}, "`tuning.tuner`=magic"),
        ({"name": "structured", "features": "pixels"}, "`tuning.tuner_options.features`=pixels"),
        ({"name": "flat", "features": "pixels"}, "`tuning.tuner_options.features`=pixels"),
        ({"name": "structured", "reward_model": "forest"}, "`tuning.tuner_options.reward_model`=forest"),
        ({"name": "structured", "exploration": "none"}, "`tuning.tuner_options.exploration`=none"),
        ({"name": "structured", "credit": "half"}, "`tuning.tuner_options.credit`=half"),
        (
            {"name": "flat", "credit": "own"},
            "`tuning.tuner_options.credit` is not an option of flat. It takes: features, reward",
        ),
        ({"name": "uniform", "features": "raw"}, "features` is not an option of uniform. It takes none."),
        ({"name": "structured", "prior": "nun"}, "`tuning.tuner_options.prior`=nun"),
        ({"name": "hill_climbing", "sigma": 0}, "`tuning.tuner_options.sigma`=0: it has to be above 0"),
        ({"name": "structured", "slots": 0}, "slots=0"),
        ({"name": "random_search", "budget": -1}, "budget=-1"),
    ],
)
def test_bad_options_are_named(segments, point_policy, options, message):
    with pytest.raises(ValueError, match=message):
        tuner(segments, point_policy, **options)


def test_a_prediction_is_made_before_the_outcome_is_known(segments, point_policy):
    made = tuner(segments, point_policy, name="structured")
    unknown = made.ask(2)
    assert all(np.isnan(candidate.predicted) for candidate in unknown)
    assert made.estimates() is None
    made.tell([(candidate.id, play(candidate)) for candidate in unknown])
    (candidate,) = made.ask(1)
    terms = made.model.mean()[[0, 1], list(candidate.choice)].sum()
    low, high = sorted(play(one) for one in unknown)
    assert high > low
    assert candidate.predicted == pytest.approx(np.clip((low + high) / 2 + (high - low) / 2 * terms, low, high))


def test_an_estimate_is_the_mean_over_what_may_stand_in_the_other_slots(segments, point_policy):
    made = tuner(segments, point_policy, name="structured")
    while candidates := made.ask(3):
        made.tell([(candidate.id, play(candidate)) for candidate in candidates])
    inside = made.estimates()
    seen = [outcome for number, outcome in zip(made.told, made.outcomes, strict=True) if number < made.exploring]
    assert min(seen) <= inside.min() <= inside.max() <= max(seen)
    made._range = -np.inf, np.inf  # so that nothing is cut off, and averages are of the terms alone
    estimates, everything = made.estimates(), range(len(segments))
    assert estimates.shape == (2, len(segments))
    for segment in (0, 7):
        assert estimates[0, segment] == pytest.approx(
            np.mean(made._predict([(segment, other) for other in everything]))
        )
        assert estimates[1, segment] == pytest.approx(
            np.mean(made._predict([(other, segment) for other in everything]))
        )
