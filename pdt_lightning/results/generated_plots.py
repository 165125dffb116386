"""Generated segments beside the demonstrated ones, drawn in the plane in which the demonstrated ones vary most."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

from pdt_lightning.tuning.record import Record

MOST_POINTS = 3000  # demonstrated segments that are drawn


def draw_generated(axis: Axes, record: Record) -> PathCollection:
    """Every segment as a point: demonstrated ones small, generated ones as circles; all coloured by return-to-go.

    Gives what the colours can be read off from.
    """
    assert record.plane is not None
    count = len(record.plane) - record.generated
    own = np.arange(count)[:: -(-count // MOST_POINTS)]
    to_go = record.plane[:, 2]
    colours = {"cmap": "viridis", "vmin": float(to_go.min()), "vmax": float(to_go.max())}
    points = axis.scatter(
        *record.plane[own, :2].T, c=to_go[own], s=9, alpha=0.5, lw=0, label=f"demonstrated ({count})", **colours
    )
    drawn = slice(count, None)
    label = f"generated ({record.generated})"
    axis.scatter(*record.plane[drawn, :2].T, c=to_go[drawn], s=42, lw=0.9, ec="black", label=label, **colours)
    axis.set_xlabel("first principal component of the demonstrated segments")
    axis.set_ylabel("second")
    return points
