"""Films of a task's verdict: its first episode untuned and tuned, side by side, with captions, as an animated GIF.

They are played again for it, in a process of their own: a renderer may raise, hang or crash, and none of that may end a
run. The episodes are those of the verdict, to the bit on the CPU.
"""

import copy
import io
import multiprocessing
import os
import pickle
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pdt_lightning.core.files import write_atomically
from pdt_lightning.core.processes import METHOD, begin_in
from pdt_lightning.core.terminal import progress_bar
from pdt_lightning.rollouts.environment_cache import Environments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Outcome, Row, rollout
from pdt_lightning.tasks.base import Task
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.phase_episodes import PhaseEpisodes
from pdt_lightning.tuning.result import TaskResult
from pdt_lightning.tuning.subject import Subject

SIDE = 300  # pixels of a panel
FONT_SIZE, LINE, MARGIN = 13, 17, 8  # pixels
MOST_FRAMES = 100
SHORTEST, REST = 40, 1500  # milliseconds of a frame, and of the last one
LIMIT = 300.0  # seconds for a film
ADVICE = "Films need a renderer: without a screen set MUJOCO_GL=egl, or install libosmesa6 and set MUJOCO_GL=osmesa."


@dataclass(frozen=True)
class Example:
    """An episode that is worth a look.

    Args:
        kind: `untuned` or `tuned`.
        row: the episode.
        origin: in words, where its prompt comes from.
    """

    kind: str
    row: Row
    origin: str


def examples(
    subject: Subject, result: TaskResult, options: TuningOptions, slots: int, phase: int
) -> tuple[Example, Example]:
    """The first episode of a task's verdict, with a random prompt and with the recommended one, to be played again."""
    phase_episodes = PhaseEpisodes.from_options(options, slots, phase)
    untuned = phase_episodes.untuned(subject, "verdict", 1)[0]
    tuned = phase_episodes.evaluation_rows(subject, result.prompt)[0]
    _, origin = phase_episodes.prompts(subject, "verdict", 1)[0]
    return Example("untuned", untuned, origin), Example("tuned", tuned, result.origin)


def film_results(
    folder: Path,
    results: Sequence[TaskResult],
    subjects: Sequence[Subject],
    options: TuningOptions,
    slots: int,
    phase: int,
    policy: Policy,
    width: int,
    progress: bool = True,
) -> dict[str, bytes]:
    """Film the first held-out tasks, as many as `options.videos` says, untuned and tuned; see `film_all`.

    Args:
        folder: for the files.
        results: of the phase.
        subjects: its tasks.
        options: by which they were tuned.
        slots: `J`.
        phase: its number.
        policy: that was tuned.
        width: rows in a forward pass.
        progress: show a bar.
    """
    by_id = {subject.task.id: subject for subject in subjects}
    held_out = [result for result in results if result.held_out][: options.videos]
    pairs = [examples(by_id[one.task], one, options, slots, phase) for one in held_out]
    return film_all(folder, pairs, policy, width, progress)


def film_all(
    folder: Path, pairs: Sequence[Sequence[Example]], policy: Policy, width: int, progress: bool = True
) -> dict[str, bytes]:
    """Write `<task>.gif` for every task; where rendering fails say so, in one line, and stop.

    Args:
        folder: for the files.
        pairs: for each task, the episodes to be shown side by side.
        policy: that played them.
        width: rows in a forward pass, as it was when they were played.
        progress: show a bar.

    Returns:
        The files' contents, by task.
    """
    films: dict[str, bytes] = {}
    with progress_bar("Filming", len(pairs), "film", progress) as advance:
        for examples in pairs:
            task = examples[0].row.task.id
            try:
                films[task] = in_a_process(policy, examples, width)
            except (RuntimeError, OSError) as error:
                print(f"No film of {task}: {error}. {ADVICE}", file=sys.stderr)
                break
            write_atomically(folder / f"{task}.gif", films[task])
            advance(1)
    return films


def in_a_process(policy: Policy, examples: Sequence[Example], width: int, limit: float = LIMIT) -> bytes:
    """`film` in a process that may fail.

    Raises:
        RuntimeError: if it raised, died, or took longer than `limit` seconds.
    """
    context: Any = multiprocessing.get_context(METHOD)
    receiver, sender = context.Pipe(duplex=False)
    # Pickled here, so that tensors travel as bytes and not as shared files, of which there are only so many.
    job = pickle.dumps((copy.deepcopy(policy.model).cpu(), policy.settings, list(examples), width))
    child = context.Process(target=_child, args=(sender, job, dict(os.environ)), daemon=True)
    child.start()
    sender.close()
    try:
        if not receiver.poll(limit):
            raise RuntimeError(f"it was not done within {limit:.0f} s")
        made = receiver.recv()
    except EOFError:
        child.join()
        raise RuntimeError(f"the process that draws ended with exit code {child.exitcode}") from None
    finally:
        child.kill()
        child.join()
        receiver.close()
    if isinstance(made, str):
        raise RuntimeError(made)
    return made


def _child(sender: Connection, job: bytes, environment: Mapping[str, str]) -> None:
    begin_in(environment)
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("MUJOCO_GL", "egl")  # read when MuJoCo is imported, which nothing has done here yet
    try:
        model, settings, examples, width = pickle.loads(job)
        sender.send(film(Policy(model.eval(), *settings), examples, width))
    except Exception as error:  # whatever a renderer raises
        sender.send(f"{type(error).__name__}: {error}".splitlines()[0])
    os._exit(0)  # what OpenGL contexts say while an interpreter shuts down is of no use to anybody


def film(policy: Policy, examples: Sequence[Example], width: int) -> bytes:
    """Play the episodes before a camera, and make a GIF of them.

    Raises:
        RuntimeError: if an episode fails, its renderer included.
    """
    cameras = Cameras()
    outcomes = rollout(policy, [example.row for example in examples], max(width, len(examples)), cameras)
    for outcome in outcomes:
        if outcome.failed:
            raise RuntimeError(outcome.failed)
    captions = [caption(example, outcome) for example, outcome in zip(examples, outcomes, strict=True)]
    return gif(side_by_side([camera.frames for camera in cameras.used], captions), cameras.used[0].milliseconds)


class Camera(gym.Wrapper):
    """Takes a picture every few steps, at most `MOST_FRAMES` of an episode, and at its start and end.

    Args:
        env: made with `render_mode="rgb_array"`.
        horizon: longest episode.
    """

    def __init__(self, env: gym.Env, horizon: int):
        super().__init__(env)
        self.every = -(-horizon // MOST_FRAMES)
        self.milliseconds = max(SHORTEST, round(1000 * self.every / (env.metadata.get("render_fps") or 20)))
        self.frames: list[Image.Image] = []
        self.steps = 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Start an episode, and a film."""
        seen = super().reset(**options)
        self.frames, self.steps = [self._picture()], 0
        return seen

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One step."""
        seen = super().step(action)
        self.steps += 1
        if self.steps % self.every == 0 or seen[2] or seen[3]:
            self.frames.append(self._picture())
        return seen

    def _picture(self) -> Image.Image:
        frame: Any = self.env.render()
        if not isinstance(frame, np.ndarray) or frame.ndim != 3:
            raise RuntimeError(f"the environment draws {type(frame).__name__}, not an rgb_array")
        image = Image.fromarray(np.ascontiguousarray(frame, np.uint8))
        image.thumbnail((SIDE, SIDE))
        return image


class Cameras(Environments):
    """Lends environments that are being filmed, each for one episode."""

    def __init__(self) -> None:
        super().__init__(limit=0)
        self.used: list[Camera] = []

    def lend(self, task: Task) -> gym.Env:
        """An environment of the task with a camera."""
        self.used.append(Camera(task.make_env(render_mode="rgb_array"), task.horizon or 1))
        return self.used[-1]

    def take_back(self, task: Task, env: gym.Env, sound: bool = True) -> None:
        """Close it."""
        env.close()


def caption(example: Example, outcome: Outcome) -> list[str]:
    """What stands above an episode: task, prompt in words, return and success."""
    which = "a random" if example.kind == "untuned" else "the recommended"
    title = f"{example.row.task.id}, {example.kind}: {which} prompt"
    result = f"return {outcome.total:.1f}" + ("" if outcome.success is None else f", success {outcome.success:.0f}")
    return [line for text in (title, *example.origin.split("; "), result) for line in textwrap.wrap(text, 44)]


def side_by_side(scenes: Sequence[Sequence[Image.Image]], captions: Sequence[Sequence[str]]) -> list[Image.Image]:
    """Frames with all scenes beside each other under their captions; one that is over stands still."""
    font = ImageFont.load_default(FONT_SIZE)
    above = MARGIN + LINE * max(map(len, captions))
    size = (MARGIN + (SIDE + MARGIN) * len(scenes), above + max(scene[0].height for scene in scenes) + MARGIN)
    empty = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(empty)
    lefts = [MARGIN + (SIDE + MARGIN) * number for number in range(len(scenes))]
    for left, lines in zip(lefts, captions, strict=True):
        for number, line in enumerate(lines):
            draw.text((left, MARGIN / 2 + LINE * number), line, "black", font)
    frames = []
    for number in range(max(map(len, scenes))):
        frame = empty.copy()
        for left, scene in zip(lefts, scenes, strict=True):
            frame.paste(scene[min(number, len(scene) - 1)], (left, above))
        frames.append(frame)
    return frames


def gif(frames: Sequence[Image.Image], milliseconds: int) -> bytes:
    """An animated GIF that starts again for ever, after a rest on the last frame."""
    width, height = frames[0].size
    sample = Image.new("RGB", (width, 3 * height))
    for place, frame in enumerate((frames[0], frames[len(frames) // 2], frames[-1])):
        sample.paste(frame, (0, place * height))
    # One palette and no dithering, so that what stands still is stored once. The method keeps small bright things, as
    # goals are.
    palette = sample.quantize(method=Image.Quantize.FASTOCTREE)
    first, *others = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    content = io.BytesIO()
    durations = [milliseconds] * len(others) + [REST]
    first.save(content, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
    return content.getvalue()


def log_films(writer: Any, films: Mapping[str, bytes], step: int) -> None:
    """Show films in TensorBoard, whose images may move.

    Its own `add_video` would need one more package to make the same GIF.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary

    for task, content in films.items():
        width, height = Image.open(io.BytesIO(content)).size
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=content)
        writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=f"videos/{task}", image=image)]), step)
