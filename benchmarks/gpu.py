"""Speed on a GPU, in at most 8 minutes and without network: `python -m benchmarks.gpu`.

It takes torch, Lightning and NumPy; where others are missing it says so and goes on. It prints a table for
benchmarks/README.md and writes benchmarks/gpu.json. `--small` measures the same at sizes that a CPU gets through in a
minute, to see that it runs.

Of a training step, the share of the peak is 6 operations a weight and token, attention not counted, over what the card
reaches in a matrix product of bf16, measured in the same run.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.absent import standing_in

RESULTS = Path(__file__).parent / "gpu.json"
Figures = dict[str, Any]  # of a row


def plan(device: Any, small: bool, least: float, top: float) -> Iterator[tuple[str, Callable[[], Iterator[Figures]]]]:
    """What is measured, the most wanted first."""
    from benchmarks.gpu_rows import SIZES, SMALL, agreement, encoding, resume, rollouts, training

    sizes = SMALL if small else SIZES
    compiles = (False, True) if device.type == "cuda" else (False,)
    for size in sizes:
        yield f"agreement, {size.name}", lambda size=size: agreement(size, device)
    yield "resume", lambda: resume(sizes[0], device)
    for compiled in compiles:
        for size in sizes:
            yield (
                f"training, {size.name}",
                lambda size=size, compiled=compiled: training(size, compiled, device, least, top),
            )
    for size in sizes:
        yield f"encoding, {size.name}", lambda size=size: encoding(size, device, least, small)
    for width in (8,) if small else (8, 64, 512):
        for size in sizes[:2]:
            yield (
                f"rollouts, {size.name}",
                lambda size=size, width=width: rollouts(size, width, device, 5 if small else 100),
            )


def table(results: dict[str, Any]) -> str:
    """For benchmarks/README.md."""
    lines = [
        f"{results['device']}, torch {results['torch']}; matrix product in bf16: {results['peak'] / 1e12:.1f} TFLOP/s.",
        "",
    ]
    lines += ["| row | value | unit | share of the peak |", "|---|---|---|---|"]
    for row in results["rows"]:
        share = f"{100 * row['share']:.1f} %" if "share" in row else ""
        said = f"{row['value']:,.4g}" if "value" in row else f"left out: {row['why']}"
        mark = "" if row.get("holds", True) else " (does NOT hold)"
        lines.append(f"| {row['row']} | {said}{mark} | {row.get('unit', '')} | {share} |")
    return "\n".join(lines)


def main(args: list[str] | None = None) -> dict[str, Any]:
    """Measure all."""
    with standing_in() as missing:  # while the package is imported
        from benchmarks.gpu_rows import peak
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="After which nothing more is begun.")
    parser.add_argument("--small", action="store_true", help="Sizes for a CPU.")
    parser.add_argument("--out", type=Path, default=RESULTS, help="Where the results go, as JSON.")
    options = parser.parse_args(args)
    begin, device = time.monotonic(), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.small:
        parser.error("there is no GPU here; --small runs everything at small size on the CPU.")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {platform.machine()}"
    print(f"{name}, torch {torch.__version__}; missing: {', '.join(missing) or 'nothing'}", flush=True)
    least = 0.05 if options.small else 5.0
    top = peak(device, least, options.small)
    rows: list[Figures] = []
    results = {
        "device": name,
        "torch": torch.__version__,
        "missing": missing,
        "small": options.small,
        "peak": top,
        "rows": rows,
    }
    for what, measure in plan(device, options.small, least, top):
        try:
            if time.monotonic() - begin > 60 * (
                options.minutes - 1.0
            ):  # the longest row, compiled, takes about a minute
                raise TimeoutError("no time was left")
            rows += measure()
        except Exception as error:  # whatever a machine lacks is no reason to measure nothing
            rows.append({"row": what, "why": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"})
        torch._dynamo.reset()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        print(f"{time.monotonic() - begin:5.0f} s  {rows[-1]}", flush=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    print(table(results))
    return results


if __name__ == "__main__":
    main()
