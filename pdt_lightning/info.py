"""What a bug report should say of the machine: `python -m pdt_lightning.info`."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("pdt-lightning", "torch", "lightning", "gymnasium", "mujoco", "metaworld", "minari", "numpy")
VARIABLES = ("MUJOCO_GL", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "MINARI_DATASETS_PATH", "PDT_LIGHTNING_CACHE")
RENDERERS = ("egl", "osmesa", "glfw")
LIMIT = 60.0  # seconds for one renderer, which may hang
DRAW = """
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light pos='0 0 3'/><geom size='1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 32, 32) as renderer:
    renderer.update_scene(data)
    print("drawn" if renderer.render().any() else "black")
"""


def installed(package: str) -> str:
    """Version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cores() -> str:
    """Cores of the machine, and those that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{os.cpu_count()}, of which this process may use {usable}"


def cpu_features() -> str:
    """What makes bf16 fast, as torch sees it."""
    import torch

    features = {"avx512_bf16": "_is_avx512_bf16_supported", "amx": "_is_amx_tile_supported"}
    return ", ".join(
        f"{name} {'yes' if getattr(torch.cpu, check, lambda: False)() else 'no'}" for name, check in features.items()
    )


def accelerators() -> str:
    """GPUs, as torch sees them."""
    import torch

    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        return (
            ", ".join(f"{one.name} ({one.total_memory / 2**30:.0f} GiB)" for one in devices)
            + f"; CUDA {torch.version.cuda}"
        )
    return "Apple MPS" if torch.backends.mps.is_available() else "none"


def renderer(name: str) -> str:
    """Whether MuJoCo draws with `MUJOCO_GL` set to `name`, tried in a process of its own."""
    environment = {**os.environ, "MUJOCO_GL": name}
    try:
        done = subprocess.run(
            [sys.executable, "-c", DRAW], env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return f"does not work: nothing within {LIMIT:.0f} s"
    if done.returncode == 0 and "drawn" in done.stdout:
        return "works"
    # The first is the cause; more follow when what was half made is taken down.
    error = re.search(r"^[\w.]+: .*", done.stderr, re.MULTILINE)
    return f"does not work: {error[0] if error else f'exit code {done.returncode}'}"[:200]


def datasets() -> str:
    """Minari's folder, how many datasets it holds, and how large they are."""
    from minari.storage import get_dataset_path

    from pdt_lightning.core import cache

    root = Path(get_dataset_path(""))
    count = sum(1 for _ in root.rglob("data/metadata.json")) if root.is_dir() else 0
    return f"{root}: {count} datasets, {_size(root, without=cache.folder())}"


def cache() -> str:
    """Our own folder beside them."""
    from pdt_lightning.core import cache

    return f"{cache.folder()}: {_size(cache.folder())}"


def _size(folder: Path, without: Path | None = None) -> str:
    if not folder.is_dir():
        return "not there yet"
    total = 0
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if Path(place) / name != without]
        for name in files:
            with suppress(OSError):  # gone in the meantime
                total += (Path(place) / name).stat().st_size
    return f"{total / 1e6:,.1f} MB"


def safely(section: Callable[[], str]) -> str:
    """What a section says, or why it cannot: a report of a broken machine must not break itself."""
    try:
        return section()
    except ImportError as error:
        return "not installed" if isinstance(error, ModuleNotFoundError) else f"{type(error).__name__}: {error}"
    except Exception as error:  # whatever is broken is what the report is for
        return f"{type(error).__name__}: {error}"


def main() -> None:
    """Print the report."""
    sections: dict[str, Callable[[], str]] = {
        "python": lambda: f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform,
        **{package: lambda package=package: installed(package) for package in PACKAGES},  # type: ignore[misc]
        "cores": cores,
        "cpu features": cpu_features,
        "accelerators": accelerators,
        **{f"MUJOCO_GL={name}": lambda name=name: renderer(name) for name in RENDERERS},  # type: ignore[misc]
        "datasets": datasets,
        "cache": cache,
        "variables": lambda: (
            ", ".join(f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ) or "none set"
        ),
    }
    width = max(map(len, sections))
    for name, section in sections.items():
        print(f"{name:<{width}}  {safely(section)}", flush=True)


if __name__ == "__main__":
    main()
