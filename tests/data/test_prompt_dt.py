"""Small files like the published ones, played in the environment."""

import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest

from pdt_lightning.core.errors import UserError
from pdt_lightning.data import minari, prompt_dt
from pdt_lightning.tasks import recorded
from pdt_lightning.tasks.ant import AntDirectionFamily
from pdt_lightning.tasks.half_cheetah import HalfCheetahDirectionFamily, HalfCheetahVelocityFamily

VELOCITY = HalfCheetahVelocityFamily


def episodes(family, number=0, count=2, steps=12, dtype=np.float32, ends="terminals", following=True):
    env, found = family.bare_task(number).make_env(), []
    rng = np.random.default_rng(number)
    for seed in range(count):
        states, actions, rewards, terminals = [env.reset(seed=seed)[0]], [], [], []
        for _ in range(steps):
            actions.append(rng.uniform(-1, 1, env.action_space.shape).astype(np.float32))
            state, reward, over, *_ = env.step(actions[-1])
            states.append(state)
            rewards.append([reward])
            terminals.append([over])
        episode = {
            "observations": np.array(states[:-1], dtype),
            "next_observations": np.array(states[1:], dtype),
            "actions": np.array(actions, dtype),
            "rewards": np.array(rewards, dtype),
            ends: np.array(terminals),
        }
        found.append(
            episode if following else {key: value for key, value in episode.items() if key != "next_observations"}
        )
    return found


def write(folder, content, name="cheetah_vel-0-prompt-expert.pkl", protocol=4):
    (folder / name).write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def imported(folder, family=VELOCITY):
    return prompt_dt.import_folder(folder, family, progress=False)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "kind",
    [{}, {"dtype": np.float64}, {"ends": "dones"}, {"following": False}, {"following": False, "dtype": np.float64}],
    ids=str,
)
def test_what_is_in_a_file_is_in_the_dataset(place, kind, protocol):
    given = episodes(VELOCITY, **kind)
    [one] = imported(write(place, given, protocol=protocol))
    assert (one.number, one.kind, one.episodes, one.steps) == (0, "prompt-expert", 2, 24)
    assert one.dataset_id == "prompt-dt/half-cheetah-vel/00-prompt-expert-v0"
    assert one.mean_return == pytest.approx(np.mean([episode["rewards"].sum() for episode in given]), rel=1e-5)
    assert max(*one.reward_error, one.observation_error[0]) < 1e-3
    assert one.observation_error[1] < 0.02  # the torso's position is a step behind where it was read after a step
    read = list(minari.read(one.dataset_id))
    for episode, back in zip(given, read, strict=True):
        assert np.array_equal(episode["observations"].astype(np.float32), back.states)
        assert np.array_equal(episode["actions"].astype(np.float32), back.actions)
        assert np.allclose(episode["rewards"][:, 0], back.rewards)
        assert back.success is None


@pytest.mark.parametrize("family", [HalfCheetahDirectionFamily, AntDirectionFamily])
def test_every_family_has_its_files(place, family):
    write(place, episodes(family, 1), f"{family.file_prefix}-1-expert.pkl")
    [one] = imported(place, family)
    assert one.dataset_id == f"prompt-dt/{family.name}/01-expert-v0"
    assert recorded.of(one.dataset_id).spec().kwargs == dict(family.bare_task(1).env_kwargs)


def test_what_was_imported_stays(place):
    [first] = imported(write(place, episodes(VELOCITY)))
    before = minari.path_of(first.dataset_id).stat().st_mtime_ns
    assert first.new
    assert imported(place) == [replace(first, new=False)]
    assert minari.path_of(first.dataset_id).stat().st_mtime_ns == before


def test_another_file_of_the_name_is_not_taken_for_the_one_imported(place):
    [first] = imported(write(place, episodes(VELOCITY)))
    write(write(place, episodes(VELOCITY, count=3)), episodes(VELOCITY, 1), "cheetah_vel-1-prompt-expert.pkl")
    folder = minari.path_of(first.dataset_id)
    with pytest.raises(
        UserError, match=rf"cheetah_vel-0-prompt-expert.pkl is not the file .* Remove {folder} to import"
    ):
        imported(place)
    assert not minari.exists(first.dataset_id.replace("/00", "/01"))
    shutil.rmtree(folder)
    assert [one.new for one in imported(place)] == [True, True]
    assert len(list(minari.read(first.dataset_id))) == 3


@pytest.mark.parametrize("family", [VELOCITY, HalfCheetahDirectionFamily, AntDirectionFamily])
def test_a_file_that_is_part_garbage_is_refused(place, family):
    given, rng = episodes(family, count=10), np.random.default_rng(0)
    for episode in given[:4]:
        for key in ("observations", "next_observations", "actions", "rewards"):
            episode[key] = rng.normal(size=episode[key].shape).astype(np.float32)
    write(place, given, f"{family.file_prefix}-0-prompt-expert.pkl")
    with pytest.raises(UserError, match=r"off by .* in a tenth of the steps.*or damaged"):
        imported(place, family)


def test_steps_of_every_episode_are_replayed(place):
    class Counting:
        unwrapped = property(lambda self: self)
        starts = ()

        def reset(self, seed):
            pass

        def set_observed(self, observation):
            self.starts += (observation[0],)

        def step(self, action):
            return np.zeros(2), 0.0, False, False, {}

    env = Counting()
    zeros = {"actions": np.zeros((9, 1)), "rewards": np.zeros(9), "next_observations": np.zeros((9, 2))}
    prompt_dt.replay(env, [{"observations": np.full((9, 2), n), **zeros} for n in range(70)], "test")
    assert set(env.starts) == set(range(70))


RAN = []


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return RAN.append, (1,)


class Hollow:
    """An array that is begun and not filled."""

    def __reduce__(self):
        return np.zeros(1).__reduce__()[:2]


def changed(key, change):
    def make():
        given = episodes(VELOCITY, dtype=np.float64)
        given[1][key] = change(given[1][key])
        return given

    return make


def with_nan(values):
    return np.where(np.arange(len(values))[:, None] == 3, np.nan, values).astype(values.dtype)


BROKEN = {
    "code": (lambda: [{"observations": Code()}], "names builtins.getattr|names .*append"),
    "another class": (lambda: [{"observations": VELOCITY}],
                      "names pdt_lightning.tasks.half_cheetah.HalfCheetahVelocityFamily"),
    "a module's function": (lambda: b"cos\nsystem\n(S'true'\ntR.", "names os.system.*Nothing of it was run"),
    "truncated": (lambda: pickle.dumps(episodes(VELOCITY))[:-500], "not the whole of a pickle"),
    "empty": (lambda: b"", "not the whole of a pickle"),
    "no pickle": (lambda: b"<html>404</html>", "not the whole of a pickle"),
    "no list": (lambda: {"observations": np.zeros((3, 20))}, "no list of episodes"),
    "no episodes": (list, "no list of episodes"),
    "NaN in observations": (changed("observations", with_nan), "episode 1: its observations are not all finite"),
    "NaN in rewards": (changed("rewards", with_nan), "episode 1: its rewards are not all finite"),
    "a row too few": (changed("actions", lambda values: values[:-1]), r"episode 1: its actions are of shape \(11, 6\)"),
    "infinite in float32": (changed("actions", lambda values: values * 1e300),
                            "its actions are not all finite in float32"),
    "lists": (changed("actions", lambda values: values.tolist()), "episode 1: its actions are of list, not an array"),
    "ragged lists": (changed("rewards", lambda values: [[1.0], [1.0, 2.0]]), "its rewards are of list, not an array"),
    "lists of arrays": (changed("rewards", list), "its rewards are of list, not an array"),
    "no array": (changed("terminals", lambda values: None), "its terminals are of NoneType, not an array"),
    "an array without values": (changed("rewards", lambda values: Hollow()),
                                "its rewards are of Reconstruct, not an array"),
    "NaN in terminals": (changed("terminals", lambda values: with_nan(values.astype(float))),
                         "its terminals are not all true"),
    "numbers in terminals": (changed("terminals", lambda values: 0.5 + values),
                             "its terminals are not all true or false"),
    "half precision": (changed("actions", lambda values: values.astype(np.float16)), "holds arrays of f2"),
    "whole numbers": (changed("observations", lambda values: values.astype(int)), "of int64, not float32 or float64"),
    "no ends": (lambda: episodes(VELOCITY, ends="ends"), "has no terminals, but: obs"),
    "of the ant": (lambda: episodes(AntDirectionFamily),
                   "observations of size 27, but half-cheetah-vel of 20.*another family"),
    "of the other half-cheetah": (lambda: episodes(HalfCheetahDirectionFamily),
                                  "rewards are off by.*another family or task"),
    "of another task": (lambda: episodes(VELOCITY, 30), "rewards are off by.*another family or task"),
    "of other physics": (changed("observations", lambda values: values * 1.5), "are off by"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_what_will_not_do_is_refused_by_name_and_nothing_is_written(place, what):
    content, message = BROKEN[what]
    write(write(place, content()), episodes(VELOCITY, 1), "cheetah_vel-1-prompt-expert.pkl")
    with pytest.raises(UserError, match=message) as refused:
        imported(place)
    assert "cheetah_vel-0-prompt-expert.pkl" in str(refused.value)
    assert not minari.path_of("prompt-dt").exists()
    assert RAN == []


def test_a_folder_without_files_of_the_family(place):
    with pytest.raises(UserError, match=r"no files such as cheetah_vel-0-prompt-expert.pkl.*Name another folder"):
        imported(place)
    write(place, episodes(VELOCITY))
    with pytest.raises(UserError, match="It has files of cheetah_vel: choose another family"):
        imported(place, AntDirectionFamily)
    with pytest.raises(UserError, match="there is no such folder"):
        imported(place / "below")


def test_files_in_a_folder_of_their_family_as_the_archives_have_them(place):
    (place / "cheetah_vel").mkdir()
    (place / "ant_dir").mkdir()
    write(place / "cheetah_vel", episodes(VELOCITY))
    assert [one.path.name for one in imported(place)] == ["cheetah_vel-0-prompt-expert.pkl"]
    with pytest.raises(UserError, match="It has files of cheetah_vel: choose another family"):
        imported(place, AntDirectionFamily)
    write(place, episodes(VELOCITY, 1), "cheetah_vel-1-prompt-expert.pkl")
    assert [one.path.name[12] for one in imported(place)] == ["0", "1"]
    write(place, episodes(VELOCITY))
    with pytest.raises(UserError, match=r"cheetah_vel-0-prompt-expert.pkl are the same task's"):
        imported(place)


def test_a_task_that_the_family_has_not(place):
    write(place, episodes(VELOCITY), "cheetah_vel-40-expert.pkl")
    with pytest.raises(
        UserError, match=r"cheetah_vel-40-expert.pkl is of task 40, but half-cheetah-vel has tasks 0 to 39"
    ):
        imported(place)
