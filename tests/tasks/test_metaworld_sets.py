import pytest

from pdt_lightning.tasks import check_family, make_family
from pdt_lightning.tasks.metaworld_sets import goals_of


@pytest.fixture(scope="module")
def ml10():
    return make_family("metaworld-set", {"goals": 2, "heldout_goals": 1})


def classes(tasks):
    return list(dict.fromkeys(task.env_kwargs["env_name"] for task in tasks))


def test_classes_are_held_out_whole(ml10):
    assert len(ml10.training_tasks) == 20
    assert len(classes(ml10.training_tasks)) == 10
    assert classes(ml10.heldout_tasks) == [
        "drawer-open-v3",
        "door-close-v3",
        "shelf-place-v3",
        "sweep-into-v3",
        "lever-pull-v3",
    ]
    assert not set(classes(ml10.training_tasks)) & set(classes(ml10.heldout_tasks))
    assert "ml10/pick-place-v3-01" in [task.id for task in ml10.training_tasks]


def test_every_task_has_a_goal_of_its_own_and_its_own_scale(ml10):
    training, held_out = goals_of("ML10")
    assert {len(goals) for group in (training, held_out) for goals in group.values()} == {50}
    assert len({task.env_kwargs["positions"] for task in ml10.tasks}) == 25
    # Its demonstrations decide.
    assert {(task.target_return, task.return_scale) for task in ml10.tasks} == {(None, None)}


def test_goals_are_drawn_once(ml10, monkeypatch):
    goals_of.cache_clear()
    monkeypatch.setattr("metaworld.ML10", None)
    assert make_family("metaworld-set", {"goals": 1}).training_tasks[0].id == "ml10/reach-v3-00"


def test_the_family_keeps_the_contract(ml10):
    check_family(ml10, [*ml10.training_tasks[::7], *ml10.heldout_tasks])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"benchmark": "ML11"}, "benchmark`=ML11: choose one of ML10, ML45"),
        ({"goals": 51}, "goals`=51: it has to be at least 1 and at most 50"),
        ({"heldout_goals": 0}, "heldout_goals`=0"),
        ({"horizon": 501}, "horizon`=501"),
        ({"training_demonstrations": 2}, "training_demonstrations`=2"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_family("metaworld-set", options)


def test_where_no_class_is_held_out_goals_are(monkeypatch):
    few = {"reach-v3": goals_of("ML10")[0]["reach-v3"]}
    monkeypatch.setattr("pdt_lightning.tasks.metaworld_sets.goals_of", lambda benchmark: (few, {}))
    family = make_family("metaworld-set", {"benchmark": "MT10", "goals": 3, "heldout_goals": 2})
    assert [task.id for task in family.training_tasks] == ["mt10/reach-v3-00", "mt10/reach-v3-01", "mt10/reach-v3-02"]
    assert [task.id for task in family.heldout_tasks] == ["mt10/reach-v3-48", "mt10/reach-v3-49"]
    with pytest.raises(ValueError, match="MT10 has 50 of each class"):
        make_family("metaworld-set", {"benchmark": "MT10", "goals": 40, "heldout_goals": 11})
