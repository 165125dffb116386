"""A record's demonstrations, drawn: as strips in time and as paths in a plane, coloured by what segments are worth."""

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from pdt_lightning.data.segments import windows_of
from pdt_lightning.tuning.record import Record

CHOSEN = "#e4002b"
UNKNOWN = "#e6e6e6"  # no segment starts there, or none was tried
MOST_STRIPS = 12  # demonstrations in one figure
HALF = 0.38  # of a strip's height; strips are 1 apart
SCORED = 0.16  # of this height, the part above a strip that shows the scores, and the gap below it
GAP = 0.02
SCORES = "Greys"


def worth_of_segments(record: Record) -> tuple[np.ndarray, str]:
    """`(J, N)` what a segment in a slot is worth, NaN where nothing is known, and what that means in words."""
    others = "" if record.slots == 1 else ", random ones in the other slots"
    if record.estimates is not None:
        return record.estimates, f"estimated {record.objective} with the segment that starts there{others}"
    totals = np.zeros((record.slots, len(windows_of(record.lengths, record.steps)[0])))
    counts = np.zeros_like(totals)
    for choice, seen in zip(record.choices, record.seen, strict=True):
        if np.isfinite(seen) and (choice >= 0).all():
            totals[np.arange(record.slots), choice] += seen
            counts[np.arange(record.slots), choice] += 1
    with np.errstate(invalid="ignore"):
        return totals / counts, f"mean {record.objective} of the rollouts with the segment that starts there"


def to_be_drawn(record: Record, values: np.ndarray) -> list[int]:
    """The demonstrations to draw: all, or those of the recommended prompt and those with the best segments."""
    if len(record.lengths) <= MOST_STRIPS:
        return list(range(len(record.lengths)))
    episode, _ = windows_of(record.lengths, record.steps)
    best = np.full(len(record.lengths), -np.inf)
    np.maximum.at(best, episode, np.where(np.isnan(values), -np.inf, values).max(axis=0))
    best[episode[record.best]] = np.inf
    return sorted(int(number) for number in np.argsort(-best, kind="stable")[:MOST_STRIPS])


def draw_strips(axis: Axes, record: Record, values: np.ndarray, norm: Normalize, shown: list[int]) -> None:
    """Each demonstration as a strip in time; what the recommended prompt takes of it is framed.

    Where segments had scores before the first rollout, a thin strip above shows them: the darker, the better.
    """
    episode, start = windows_of(record.lengths, record.steps)
    upper = HALF if record.scores is None else HALF - SCORED - GAP

    def draw(row: int, shades: np.ndarray, colours: str, scale: Normalize, above: float, below: float) -> None:
        number = shown[row]
        strip = np.full((len(shades), int(record.lengths[number])), np.nan)
        in_episode = episode == number
        strip[:, start[in_episode]] = shades[:, in_episode]
        extent = (0.5, record.lengths[number] + 0.5, row + below, row - above)
        shading = colormaps[colours].with_extremes(bad=UNKNOWN)
        axis.imshow(strip, cmap=shading, norm=scale, extent=extent, aspect="auto", interpolation="none", origin="upper")

    for row in range(len(shown)):
        draw(row, values, "viridis", norm, upper, HALF)
        if record.scores is not None:
            scale = Normalize(record.scores.min(), record.scores.max() + 1e-9)
            draw(row, record.scores[None], SCORES, scale, HALF, SCORED - HALF)
    for slot, segment in enumerate(record.best):
        row, height = shown.index(int(episode[segment])), (upper + HALF) / record.slots
        corner = (start[segment] + 0.5, row - upper + slot * height)
        axis.add_patch(Rectangle(corner, record.steps, height, fill=False, ec=CHOSEN, lw=2.2, zorder=3))
    axis.set_xlim(0.5, record.lengths[shown].max() + 0.5)
    axis.set_ylim(len(shown) - 0.5, -0.5)
    axis.set_yticks(range(len(shown)), [f"{number + 1} (return {record.returns[number]:.4g})" for number in shown])
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axis.set_xlabel("step of the demonstration")
    what = (
        "demonstration"
        if len(shown) == len(record.lengths)
        else f"{len(shown)} of {len(record.lengths)} demonstrations"
    )
    slots = "" if record.slots == 1 else f"; in each, slots 1 to {record.slots} from the top"
    axis.set_title(what + slots, fontsize=10, loc="left")
    axis.spines[["top", "right"]].set_visible(False)


def draw_plane(axis: Axes, record: Record, slot: int, values: np.ndarray, norm: Normalize, shown: list[int]) -> None:
    """Where demonstrations go in a plane, the segments of one slot as points; the recommended one is a line."""
    episode, start = windows_of(record.lengths, record.steps)
    assert record.path is not None
    offsets = np.concatenate([[0], np.cumsum(record.lengths)])
    for number in shown:
        way = record.path[offsets[number] : offsets[number + 1]]
        axis.plot(way[:, 0], way[:, 1], color=UNKNOWN, lw=1, zorder=1)
        own = np.flatnonzero(episode == number)
        axis.scatter(
            way[start[own], 0],
            way[start[own], 1],
            c=values[own],
            cmap="viridis",
            norm=norm,
            s=12,
            zorder=2,
            plotnonfinite=False,
        )
    if record.way is not None:
        way = record.way[slot * record.steps : (slot + 1) * record.steps]
        axis.plot(way[:, 0], way[:, 1], "o-", color=CHOSEN, lw=2.5, ms=4, zorder=3)
    low, high = record.path.min(axis=0), record.path.max(axis=0)
    half = 0.55 * np.maximum(high - low, 0.5 * (high - low).max() + 1e-6)  # a straight path would be drawn in a sliver
    axis.set_xlim((low + high)[0] / 2 - half[0], (low + high)[0] / 2 + half[0])
    axis.set_ylim((low + high)[1] / 2 - half[1], (low + high)[1] / 2 + half[1])
    axis.set_aspect("equal")
    axis.set_xlabel(record.axes[0])
    axis.set_ylabel(record.axes[1])
    axis.label_outer()
    if record.slots > 1:
        axis.set_title(f"slot {slot + 1}", fontsize=10, loc="left")
