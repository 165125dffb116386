"""Medoids of clusters as the first prompts of a search."""

import numpy as np

from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners import make_tuner
from pdt_lightning.tuners.clusters import medoids
from pdt_lightning.tuners.features import features
from tests.conftest import untrained


def test_a_medoid_is_the_point_nearest_to_its_clusters_mean_and_the_largest_cluster_comes_first():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    sizes = [5, 20, 11]
    labels = np.repeat(np.arange(3), sizes)
    points = centres[labels] + 0.1 * rng.standard_normal((36, 2))
    found = medoids(points, 3, np.random.default_rng(1))
    assert labels[found].tolist() == [1, 2, 0]
    for medoid in found:
        own = np.flatnonzero(labels == labels[medoid])
        mean = points[own].mean(axis=0)
        assert medoid == min(own, key=lambda number: np.linalg.norm(points[number] - mean))
    assert len(medoids(np.zeros((5, 2)), 3, np.random.default_rng(0))) == 1


def test_a_search_begins_with_them_after_what_its_prior_holds_best(point_data):
    policy, segments = Policy(untrained(point_data, attention="window").model, 5), point_data.segments("point/03")
    found = medoids(features("encoded", segments, policy), 4, np.random.default_rng(0))
    assert len(found) == 4
    for prior in ("none", "demonstrations"):
        options = {"medoids": 4, "prior": prior, "tolerance": 0.0}
        one, other = (
            make_tuner("structured", segments, 40, np.random.default_rng(seed), 2, policy, **options) for seed in (0, 1)
        )
        tried = []
        for number in range(5 if prior == "demonstrations" else 4):
            if number == 2:  # a restored one goes on with the same
                one.load_state_dict(other.state_dict())
            (candidate,) = one.ask()
            one.tell([(candidate.id, float(number))])
            (again,) = other.ask()
            other.tell([(again.id, float(number))])
            assert again.choice == candidate.choice
            tried.append(candidate.choice)
        first = tried[1:] if prior == "demonstrations" else tried
        assert all(a == b for a, b in first)
        assert len(set(first)) == 4
