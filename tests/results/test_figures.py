"""What is drawn is what the record says; what is left in a run folder is all that drawing needs."""

import dataclasses
import subprocess
import sys
import warnings

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pdt_lightning.callbacks import PromptTuning
from pdt_lightning.results import demonstration_plots, figures, report
from pdt_lightning.results.statistics import mean_interval
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.tuners import generated
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.phase import tune
from pdt_lightning.tuning.record import Record, principal_plane
from pdt_lightning.tuning.subject import Subject
from tests.callbacks.test_prompt_tuning import TUNING, run
from tests.conftest import untrained

pytestmark = pytest.mark.usefixtures("drawn")
LENGTHS = np.array([6, 4, 8])  # of segments of 3 steps: 4 + 2 + 6
STARTS = [0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 4, 5]
OWNERS = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2]


def record(**changes):
    rng = np.random.default_rng(0)
    path = rng.normal(size=(18, 2)).astype(np.float32)
    made = Record(
        task="toy/1",
        tuner="structured",
        objective="return",
        steps=3,
        axes=("x", "y"),
        lengths=LENGTHS,
        returns=np.array([1.0, 2.0, 3.0]),
        path=path,
        choices=np.array([[0, 4], [11, 4], [11, 5], [3, 3]]),
        seen=np.array([1.0, np.nan, 3.0, 5.0]),
        predicted=np.array([np.nan, 1.0, 2.0, 4.0]),
        recommended=np.array([1.0, 1.0, 2.0, 4.0]),
        retried=3,
        best=np.array([11, 5]),
        estimates=rng.normal(size=(2, 12)),
        untuned=np.array([0.0, 1.0, 2.0]),
        tuned=np.array([4.0, 5.0]),
        oracle=None,
        origin="steps 6-8 of demonstration 3; steps 2-4 of demonstration 2",
        way=path[[15, 16, 17, 7, 8, 9]],
    )
    return dataclasses.replace(made, **changes)


def line(axis, label):
    (found,) = [one for one in axis.lines if one.get_label() == label]
    return np.array(found.get_xdata(), float).tolist(), np.array(found.get_ydata(), float).tolist()


def test_rounds_show_each_rollout_the_recommendation_and_the_untuned_band():
    axis, _ = figures.rounds(record()).axes
    x, y = line(axis, "one rollout of the tuner")
    assert x == [1, 2, 3, 4]
    np.testing.assert_equal(y, [1.0, np.nan, 3.0, 5.0])
    assert line(axis, "what the tuner thinks its recommended prompt is worth") == ([1, 2, 3, 4], [1.0, 1.0, 2.0, 4.0])
    assert line(axis, "a rollout that failed")[0] == [2]
    assert line(axis, "from here on finalists are tried again")[0] == [3.5, 3.5]
    mean, low, high = mean_interval([[0.0, 1.0, 2.0]])
    (band,) = [one for one in axis.patches if one.get_label().startswith("untuned")]
    assert [band.get_y(), band.get_y() + band.get_height()] == pytest.approx([low, high])
    assert line(axis, "untuned: mean")[1] == [mean, mean]


@pytest.mark.parametrize("oracle", [None, np.array([6.0, 7.0])])
def test_rounds_end_with_the_verdicts(oracle):
    _, axis = figures.rounds(record(oracle=oracle)).axes
    expected = {"untuned": 1.0, "tuned": 4.5} | ({} if oracle is None else {"best found": 6.5})
    assert [text.get_text() for text in axis.get_xticklabels()] == list(expected)
    points = {bars.get_label(): bars.lines[0].get_ydata()[0] for bars in axis.containers}
    assert points == expected
    (bars,) = [bars for bars in axis.containers if bars.get_label() == "tuned"]
    (ends,) = bars.lines[2][0].get_segments()
    assert ends[:, 1].tolist() == pytest.approx(mean_interval([[4.0, 5.0]])[1:])
    assert [text.get_text() for text in axis.texts] == [f"{number:.3g}" for number in expected.values()]


def strips(figure):
    return figure.axes[0].get_images()


def test_each_demonstration_is_a_strip_coloured_by_what_its_segments_are_worth():
    made = record()
    drawn = strips(figures.segments(made))
    assert len(drawn) == 3
    for number, strip in enumerate(drawn):
        left, right, low, high = strip.get_extent()
        assert (left, right) == (0.5, LENGTHS[number] + 0.5)
        assert (low + high) / 2 == pytest.approx(number)
        shown = np.ma.masked_invalid(strip.get_array())
        assert shown.shape == (2, LENGTHS[number])
        own = [n for n, owner in enumerate(OWNERS) if owner == number]
        assert shown[:, [STARTS[n] for n in own]].tolist() == made.estimates[:, own].tolist()
        assert shown.mask[:, -2:].all()  # no segment of three steps starts in the last two
        assert shown.mask.sum() == 4
    assert {(strip.norm.vmin, strip.norm.vmax) for strip in drawn} == {(made.estimates.min(), made.estimates.max())}


def test_scores_are_thin_strips_above_those_of_the_estimates():
    scores = np.arange(12.0)
    drawn = strips(figures.segments(record(scores=scores)))
    assert len(drawn) == 6
    for number, (strip, thin) in enumerate(zip(drawn[::2], drawn[1::2], strict=True)):
        in_episode = [n for n, owner in enumerate(OWNERS) if owner == number]
        shown = np.ma.masked_invalid(thin.get_array())
        assert shown[0, [STARTS[n] for n in in_episode]].tolist() == scores[in_episode].tolist()
        assert thin.get_extent()[2] < strip.get_extent()[3]  # above it, without touching
        assert thin.get_extent()[3] == pytest.approx(number - 0.38)
    legend = figures.segments(record(scores=scores)).legends[0].get_texts()
    assert sum("before the first rollout" in text.get_text() for text in legend) == 1


def test_the_recommended_segments_are_marked_in_their_slots():
    marks = [patch for patch in figures.segments(record()).axes[0].patches if isinstance(patch, Rectangle)]
    boxes = [(*mark.get_xy(), mark.get_width(), mark.get_height()) for mark in marks]
    # Segment 11: steps 6-8 of the third one, in the upper half; 5: steps 2-4 of the second, in the lower.
    upper, lower = 2 - 0.38, 1
    assert [tuple(map(pytest.approx, box)) for box in [(5.5, upper, 3, 0.38), (1.5, lower, 3, 0.38)]] == boxes
    assert {to_hex(mark.get_edgecolor()) for mark in marks} == {demonstration_plots.CHOSEN}


def test_without_a_model_a_strip_shows_what_was_seen():
    made = record(estimates=None, predicted=np.full(4, np.nan), choices=np.array([[0, 4], [11, 4], [0, 5], [3, -1]]))
    first, second, third = (np.ma.masked_invalid(strip.get_array()) for strip in strips(figures.segments(made)))
    assert first[0, 0] == 2.0  # of the rollouts that brought 1 and 3
    assert first.count() == 1  # that of a prompt which is not made of segments alone is not counted
    assert (second[1, 0], second[1, 1]) == (1.0, 3.0)
    assert third.count() == 0  # its one rollout failed
    assert figures.predictions(made) is None


def test_where_nothing_was_tried_there_is_a_figure_all_the_same():
    nothing = np.zeros(0)
    made = record(
        estimates=None, choices=np.zeros((0, 2), int), seen=nothing, predicted=nothing, recommended=nothing, retried=0
    )
    made = dataclasses.replace(made, best=np.zeros(0, int), path=None, way=None)
    assert [np.isnan(strip.get_array().filled(np.nan)).all() for strip in strips(figures.segments(made))] == [True] * 3
    assert len(figures.segments(made).axes) == 2  # strips and scale of colours
    assert np.ptp(figures.pixels(figures.rounds(made))) > 0


def test_of_many_demonstrations_those_that_matter_are_shown():
    lengths = np.full(40, 5)
    estimates = np.zeros((1, 120))
    estimates[0, 3 * np.arange(20, 31)] = 1.0
    made = record(
        lengths=lengths,
        returns=np.arange(40.0),
        path=None,
        estimates=estimates,
        choices=np.array([[7], [8], [9], [10]]),
        best=np.array([7]),  # of demonstration 3, by number 2
    )
    axis = figures.segments(made).axes[0]
    assert len(axis.get_images()) == demonstration_plots.MOST_STRIPS == 12
    assert [int(label.get_text().split()[0]) for label in axis.get_yticklabels()] == [3, *range(21, 32)]
    assert "12 of 40" in axis.get_title(loc="left")


def test_on_the_plane_segments_lie_where_they_start_and_the_recommended_one_is_drawn():
    made = record()
    _, *planes, scale = figures.segments(made).axes
    assert [plane.get_title(loc="left") for plane in planes] == ["slot 1", "slot 2"]
    assert "random ones" in scale.get_xlabel()
    offsets = [0, 6, 10]
    for slot, plane in enumerate(planes):
        for number, points in enumerate(plane.collections):
            own = [n for n, owner in enumerate(OWNERS) if owner == number]
            assert points.get_offsets().tolist() == made.path[[offsets[number] + STARTS[n] for n in own]].tolist()
            assert points.get_array().tolist() == made.estimates[slot, own].tolist()
        (chosen,) = [one for one in plane.lines if to_hex(one.get_color()) == demonstration_plots.CHOSEN]
        first = (10 + 5, 6 + 1)[slot]
        assert chosen.get_xydata().tolist() == made.path[first : first + 3].tolist()
        assert plane.get_aspect() == 1


def test_predictions_are_set_against_what_was_seen():
    axis = figures.predictions(record()).axes[0]
    assert line(axis, "explored (1)") == ([2.0], [3.0])  # neither the one without prediction nor the one that failed
    assert line(axis, "a finalist, tried again (1)") == ([4.0], [5.0])
    assert line(axis, "as predicted") == ([2.0, 5.0], [2.0, 5.0])
    assert not axis.containers


def test_averages_of_many_predictions_are_shown_with_intervals():
    predicted = np.arange(20.0)
    many = {"choices": np.zeros((20, 2), int), "recommended": predicted, "retried": 20}
    axis = figures.predictions(record(predicted=predicted, seen=2 * predicted, **many)).axes[0]
    points = [(bars.lines[0].get_xdata()[0], bars.lines[0].get_ydata()[0]) for bars in axis.containers]
    assert points == [(x, 2 * x) for x in (1.5, 5.5, 9.5, 13.5, 17.5)]


@pytest.mark.parametrize(
    "changes",
    [{}, {"path": None, "axes": (), "oracle": np.ones(2)}, {"estimates": None, "best": np.zeros(0, int), "way": None}],
)
def test_a_record_is_read_as_it_was_written_and_equal_ones_are_equal_files(tmp_path, changes):
    made = record(**changes)
    for name in "ab":
        made.save(tmp_path / "new" / name)
    assert (tmp_path / "new" / "a").read_bytes() == (tmp_path / "new" / "b").read_bytes()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a", "b"]
    read = Record.load(tmp_path / "new" / "a")
    for field in dataclasses.fields(Record):
        a, b = getattr(made, field.name), getattr(read, field.name)
        np.testing.assert_array_equal(a, b)
        assert getattr(a, "dtype", type(a)) == getattr(b, "dtype", type(b))
    (tmp_path / "c").write_bytes(b"something else")
    with pytest.raises(ValueError, match="c is no record of a phase"):
        Record.load(tmp_path / "c")


@pytest.mark.parametrize("tuner", ["structured", "random_search", "uniform"])
@pytest.mark.parametrize("objective", ["auto", "return"])
def test_a_phase_records_what_it_did(point_policy, point_data, tuner, objective):
    options = TuningOptions(
        tuner=tuner, rounds=8, parallel=2, objective=objective, verdict_episodes=3, oracle_candidates=3
    )
    task = point_data.heldout_tasks[0]
    segments = point_data.segments(task.id)
    play = RolloutPool(0, 4).with_policy(point_policy)
    (result,) = tune(point_policy, [Subject(task, segments)], play, options, 2, 0, with_oracle=True)
    made = result.record
    assert (made.task, made.tuner, made.slots, made.steps, made.axes) == (task.id, tuner, 2, 3, ("x", "y"))
    assert made.objective == ("return" if objective == "return" else "success")
    assert made.choices.tolist() == [list(trial.candidate.choice) for trial in result.trials]
    assert made.seen.tolist() == [
        t.outcome.total if objective == "return" else t.outcome.success for t in result.trials
    ]
    assert made.recommended.tolist() == [trial.recommended_value for trial in result.trials]
    assert "; ".join(segments.describe(segment) for segment in made.best) == made.origin == result.origin
    assert made.way.tolist() == result.prompt.states[0, :, :2].tolist()
    for kind in ("untuned", "tuned", "oracle"):
        verdict = getattr(result, kind)
        assert getattr(made, kind).tolist() == (verdict.returns if objective == "return" else verdict.successes)
    assert made.path.tolist() == segments.episodes.steps[:, :2].tolist()
    assert made.retried == (8 if tuner == "uniform" else 6)
    if tuner == "structured":
        assert made.estimates.shape == (2, len(segments))
        assert np.isnan(made.predicted[:2]).all()  # nothing was known of them
        assert np.isfinite(made.predicted[2:]).all()
    else:
        assert made.estimates is None
        assert np.isnan(made.predicted).all()


def test_generated_segments_are_drawn_beside_the_demonstrated_ones(point_data):
    segments = point_data.segments("point/03")
    some = segments.gather(np.array([[3], [40]]))
    both = generated.Enlarged(segments, some)
    plane = principal_plane(both)
    assert np.allclose(plane[-2:], plane[[3, 40]], atol=1e-5)  # alike segments lie in one place
    values = generated.as_values(segments.gather(np.arange(len(segments))[:, None]), untrained(point_data).model)
    values = values.numpy()[:, values.numpy().std(axis=0) > 1e-6]
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    parts = np.linalg.svd(values, full_matrices=False)[1][:2] ** 2
    assert np.square(plane[:-2, :2]).sum(axis=0) == pytest.approx(parts, rel=1e-4)
    assert plane[3, 2] == pytest.approx(some.returns_to_go[0, 0, 0].item())
    figure = figures.generated(record(plane=plane, generated=2))
    own, drawn = figure.axes[0].collections
    assert (own.get_label(), drawn.get_label()) == (f"demonstrated ({len(segments)})", "generated (2)")
    assert np.allclose(drawn.get_offsets(), plane[-2:, :2])
    assert figures.generated(record()) is None


def test_what_the_run_drew_is_drawn_again_from_its_folder_to_the_pixel(tmp_path, monkeypatch):
    monkeypatch.setattr(generated, "UPDATES", 20)
    monkeypatch.setattr(generated, "FIT_UPDATES", 5)
    run(tmp_path, PromptTuning(every_n_epochs=1, tuner_options={"generated": 4}, **TUNING))
    folder = tmp_path / "run" / "version_0"
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    tags = {f"figures/point/{goal}_{name}" for name in figures.FIGURES for goal in ("03", "07", "11")}
    assert set(events.Tags()["images"]) == tags
    for number, (phase, step) in enumerate((("epoch_0000", 2), ("epoch_0001", 5))):
        records = sorted((folder / "figures" / phase).rglob("*.safetensors"))
        assert [path.relative_to(folder / "figures" / phase).as_posix() for path in records] == [
            "point/03.safetensors",
            "point/07.safetensors",
            "point/11.safetensors",
        ]
        for path in records:
            made = Record.load(path)
            for name, draw in figures.FIGURES.items():
                image = figures.pixels(draw(made))
                saved = np.asarray(Image.open(path.with_name(f"{path.stem}_{name}.png")))
                assert np.array_equal(image, saved)
                shown = events.Images(f"figures/{made.task}_{name}")[number]
                assert shown.step == step  # as the curves of that validation
                png = tmp_path / "shown.png"
                png.write_bytes(shown.encoded_image_string)
                assert np.array_equal(image, np.asarray(Image.open(png)))
        assert [event.step for event in events.Scalars("tuning/tuned_return")][number] == step
    assert not list(folder.rglob("*.partial"))


def test_a_figure_that_cannot_be_drawn_ends_nothing_and_is_told(tmp_path, monkeypatch):
    def broken(made):
        raise RuntimeError("no font")

    monkeypatch.setitem(figures.FIGURES, "segments", broken)
    with pytest.warns(
        UserWarning, match=r"3 figures could not be drawn.*segments of point/03: RuntimeError: no font"
    ) as told:
        run(tmp_path, PromptTuning(**TUNING), epochs=1)
    assert sum("drawn" in str(one.message) for one in told) == 1
    folder = tmp_path / "run" / "version_0"
    names = sorted(path.name for path in (folder / "figures" / "epoch_0000" / "point").glob("03*"))
    assert names == ["03.safetensors", "03_predictions.png", "03_rounds.png"]
    assert (folder / "summary.json").exists()
    assert list((folder / "tuning").iterdir())


def test_a_phase_that_is_run_again_leaves_nothing_of_the_first_attempt(tmp_path, point_policy, point_data):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "old.png").touch()
    play = RolloutPool(0, 4).with_policy(point_policy)
    task = point_data.heldout_tasks[0]
    options = TuningOptions(rounds=4, verdict_episodes=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = tune(point_policy, [Subject(task, point_data.segments(task.id))], play, options, 1, 0)
        drawn = report.write_figures(tmp_path / "figures", results)
    assert list(drawn) == ["point/03_rounds", "point/03_segments", "point/03_predictions"]
    assert not (tmp_path / "figures" / "old.png").exists()


def test_neither_a_display_nor_pyplot_is_needed():
    code = (
        "import sys; from pdt_lightning.results import report, figures; assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env={"MPLBACKEND": "tkagg", "PATH": ""})
