"""Films: what they show is the verdict's first episode, and a renderer that fails ends nothing."""

import io
import json
import os
import time
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from pdt_lightning import info
from pdt_lightning.results import videos
from pdt_lightning.results.videos import Example, examples
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.rollouts.rollout import Outcome, Row, rollout
from pdt_lightning.tasks.base import Task
from pdt_lightning.tasks.point import PointEnv
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.phase import tune
from pdt_lightning.tuning.subject import Subject
from tests.conftest import POINT_FLAGS, untrained
from tests.processes import command

OPTIONS = TuningOptions(rounds=4, yardstick_episodes=1, verdict_episodes=3, oracle_candidates=0)


@pytest.fixture
def policy(point_data):
    return Policy(untrained(point_data, attention="window").model, 5)


@pytest.fixture
def pair(policy, point_data):
    subject = Subject(point_data.heldout_tasks[0], point_data.segments("point/03"))
    (result,) = tune(policy, [subject], RolloutPool(0, 4).with_policy(policy), OPTIONS, 2, phase=5)
    return examples(subject, result, OPTIONS, 2, phase=5), result


def test_what_is_shown_is_the_first_episode_of_the_verdict(policy, pair):
    shown, result = pair
    assert [example.kind for example in shown] == ["untuned", "tuned"]
    outcomes = rollout(policy, [example.row for example in shown], 4)
    assert [outcome.total for outcome in outcomes] == [result.untuned.returns[0], result.tuned.returns[0]]
    assert shown[1].origin == result.origin
    assert shown[1].row.prompt is not shown[0].row.prompt
    assert shown[0].origin.count("of demonstration") == 2


def test_filming_changes_nothing(policy, pair):
    rows = [example.row for example in pair[0]]
    cameras = videos.Cameras()
    filmed = rollout(policy, rows, 4, cameras)
    assert filmed == rollout(policy, rows, 4)
    assert [len(camera.frames) for camera in cameras.used] == [1 + outcome.length for outcome in filmed]


def frames_of(content):
    film = Image.open(io.BytesIO(content))
    frames = []
    for number in range(film.n_frames):
        film.seek(number)
        frames.append(np.asarray(film.convert("RGB")).astype(int))
    return frames, film


def test_a_film_is_whole_and_moves(policy, pair, tmp_path):
    shown, _ = pair
    films = videos.film_all(tmp_path, [shown], policy, 4)
    assert (tmp_path / "point" / "03.gif").read_bytes() == films["point/03"]
    assert [path.name for path in (tmp_path / "point").iterdir()] == ["03.gif"]
    frames, film = frames_of(films["point/03"])
    assert film.info["loop"] == 0
    longest = max(outcome.length for outcome in rollout(policy, [example.row for example in shown], 4))
    assert 1 < len(frames) <= 1 + longest  # pictures that are equal become one
    panels = frames[0].shape[1] // 2
    for part in (slice(None, panels), slice(panels, None)):
        assert np.abs(frames[-1][:, part] - frames[0][:, part]).max() > 100  # both points have moved
    with SummaryWriter(str(tmp_path / "events")) as writer:
        videos.log_films(writer, films, 7)
    (image,) = (
        EventAccumulator(str(tmp_path / "events"), size_guidance={"images": 0}).Reload().Images("videos/point/03")
    )
    assert (image.step, image.encoded_image_string) == (7, films["point/03"])
    assert (image.width, image.height) == film.size


def test_captions_say_the_prompt_in_words_with_return_and_success(point_data):
    row = Row(point_data.heldout_tasks[0], point_data.segments("point/03").gather(np.array([[3, 11]])), 0)
    origin = ["steps 37-41 of demonstration 3", "steps 2-6 of demonstration 1"]
    lines = videos.caption(Example("untuned", row, "; ".join(origin)), Outcome(-10.0, 0.0, 9))
    assert lines == ["point/03, untuned: a random prompt", *origin, "return -10.0, success 0"]
    font = videos.ImageFont.load_default(videos.FONT_SIZE)
    assert max(font.getlength(line) for line in lines) <= videos.SIDE
    tuned = videos.caption(Example("tuned", row, "drawn by a model"), Outcome(1.26, None, 9))
    assert tuned == ["point/03, tuned: the recommended prompt", "drawn by a model", "return 1.3"]


def test_a_scene_that_is_over_stands_still():
    red, green, blue = (Image.new("RGB", (4, 4), color) for color in ("red", "#00ff00", "blue"))
    frames = videos.side_by_side([[red], [green, blue]], [["a"], ["b", "c"]])
    assert len(frames) == 2
    right = 2 * videos.MARGIN + videos.SIDE
    above = videos.MARGIN + 2 * videos.LINE
    for frame, second in zip(frames, ((0, 255, 0), (0, 0, 255)), strict=True):
        assert frame.getpixel((videos.MARGIN, above)) == (255, 0, 0)
        assert frame.getpixel((right, above)) == second


class Failing(PointEnv):
    """Draws badly, in one of several ways."""

    way = "raise"

    def __init__(self, way="raise", **options):
        super().__init__(3, **options)
        self.way = way

    def render(self):
        if self.way == "raise":
            raise RuntimeError("no OpenGL here")
        if self.way == "die":
            os.abort()
        if self.way == "hang":
            time.sleep(60)
        return None


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("raise", "RuntimeError: no OpenGL here"),
        ("die", "ended with exit code -6"),
        ("hang", "not done within 5 s"),
        ("nothing", "draws NoneType, not an rgb_array"),
    ],
)
def test_a_renderer_may_fail_in_any_way(policy, pair, tmp_path, capsys, monkeypatch, way, message):
    spec = EnvSpec("tests/Failing-v0", entry_point="tests.results.test_videos:Failing", kwargs={"way": way})
    broken = [
        replace(example, row=replace(example.row, task=replace(example.row.task, env_id=spec, env_kwargs={})))
        for example in pair[0]
    ]
    monkeypatch.setattr(videos.in_a_process, "__defaults__", (5.0 if way == "hang" else videos.LIMIT,))
    assert videos.film_all(tmp_path, [broken, pair[0]], policy, 4) == {}
    told = capsys.readouterr().err
    assert "No film of point/03: " in told
    assert message in told
    assert "MUJOCO_GL=egl" in told
    assert told.count("No film of") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_and_the_command_film_when_asked(tmp_path, point_data):
    command(
        "fit",
        *POINT_FLAGS,
        "--name=f",
        f"--trainer.default_root_dir={tmp_path}",
        "--trainer.max_epochs=1",
        "--tuning.videos=2",
    )
    run = tmp_path / "f" / "version_0"
    assert sorted(path.name for path in (run / "videos" / "point").iterdir()) == ["03.gif", "07.gif"]
    events = EventAccumulator(str(run), size_guidance={"images": 0}).Reload()
    films = [tag for tag in events.Tags()["images"] if tag.startswith("videos/")]
    assert films == ["videos/point/03", "videos/point/07"]
    flags = [
        "--prompts",
        run / "prompts",
        "--rounds=0",
        "--videos=1",
        f"--out={tmp_path / 'out'}",
        "--verdict_episodes=2",
    ]
    command("tune", f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}", *flags)
    assert [path.name for path in (tmp_path / "out" / "videos" / "point").iterdir()] == ["03.gif"]
    assert (
        json.loads((tmp_path / "out" / "summary.json").read_text())["tasks"]["point/03"]["tuned"]["return"] is not None
    )


def test_meta_world_is_drawn_the_right_way_up(tmp_path):
    """The robot stands to the left of the table, and reaches over it from above."""
    positions = (-0.09, 0.61, 0.02, 0.04, 0.856, 0.053)
    task = Task(
        "pick/0",
        "pdt-lightning/ML1-v0",
        {"env_name": "pick-place-v3", "positions": positions},
        horizon=20,
        target_return=1.0,
        return_scale=1.0,
    )
    from pdt_lightning.data.segments import Prompt
    from pdt_lightning.model.pdt import PromptDecisionTransformer

    sizes = {"returns_to_go": (1, 5, 1), "states": (1, 5, 39), "actions": (1, 5, 4)}
    prompt = Prompt(
        **{name: torch.zeros(size) for name, size in sizes.items()},
        timesteps=torch.arange(5)[None],
        mask=torch.ones(1, 5, dtype=torch.bool),
    )
    policy = Policy(PromptDecisionTransformer(39, 4, 20, width=16, layers=1, inner=16).eval(), 5)
    example = Example("tuned", Row(task, prompt, 0), "here")
    if not info.renderer(os.environ.get("MUJOCO_GL", "egl")).startswith("works"):
        pytest.skip("MuJoCo draws nothing on this machine")
    frames, _ = frames_of(videos.in_a_process(policy, [example], 1))
    assert len(frames) > 10
    red, green, blue = np.moveaxis(frames[0], -1, 0)
    robot = np.argwhere((red > 100) & (green < 50) & (blue < 50)).mean(axis=0)
    table = np.argwhere((red - blue > 30) & (green > 50)).mean(axis=0)
    assert robot[0] + 20 < table[0]
    assert robot[1] + 20 < table[1]
    assert np.abs(frames[-1] - frames[0]).max() > 50


def test_the_point_draws_its_own_goal_and_its_way():
    env = gym.make("pdt-lightning/Point-v0", goal=3, render_mode="rgb_array")
    env.reset(seed=0)
    before = env.render()
    assert before.shape == (300, 300, 3)
    assert before.dtype == np.uint8
    for _ in range(5):
        env.step(np.array([1.0, 0.0], np.float32))
    after = env.render()
    blue = (after == (31, 78, 156)).all(axis=-1)
    assert blue.sum() > (before == (31, 78, 156)).all(axis=-1).sum()
    rows, columns = np.nonzero(blue)
    assert np.ptp(columns) > 4 * np.ptp(rows)  # it walked to the right
    green = np.argwhere((after == (42, 157, 74)).all(axis=-1)).mean(axis=0)
    assert green[0] > 150  # goal 3 of 16 lies below, as y points up
    assert PointEnv(3).render() is None
    env.close()
