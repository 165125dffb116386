"""A folder of wheels to carry to a machine without network: `python -m benchmarks.wheels FOLDER --python 3.12`.

The machine has torch, Lightning and NumPy. What it gets is what rollouts in MuJoCo's environments take besides, at most
60 MiB. The figures of a phase, TensorBoard and Meta-World are left out; `python -m benchmarks.gpu` says what is missing
and goes on.
"""

import argparse
import subprocess
import sys
from pathlib import Path

LIMIT = 60 * 2**20  # bytes
CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
WANTED = (
    *("gymnasium", "mujoco", "imageio", "minari", "safetensors", "scipy", "threadpoolctl"),
    *("jsonargparse[signatures]", "omegaconf", "rich", "cma"),
)
# What torch and Lightning have brought already.
THERE = {"torch", "lightning", "numpy", "fsspec", "packaging", "pyyaml", "typing_extensions", "torchmetrics", "tqdm"}
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def download(folder: Path, python: str, wanted: tuple[str, ...] = WANTED) -> list[Path]:
    """Wheels of what is wanted and what that takes, for Linux on x86-64, without what is there.

    Args:
        folder: where they go.
        python: version of that machine's Python, such as `3.12`.
        wanted: names of packages.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", f"--python-version={python}", *(f"--platform={name}" for name in PLATFORMS)]
    subprocess.run([*command, f"--dest={folder}", f"--constraint={CONSTRAINTS}", *wanted], check=True)
    for wheel in folder.glob("*.whl"):
        if wheel.name.partition("-")[0].lower() in THERE:
            wheel.unlink()
    return sorted(folder.glob("*.whl"))


def main(args: list[str] | None = None) -> None:
    """Download, and say how to install."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12", help="Version of that machine's Python.")
    parser.add_argument("--wanted", nargs="+", default=WANTED, help="Packages, in place of the usual ones.")
    options = parser.parse_args(args)
    options.folder.mkdir(parents=True, exist_ok=True)
    wheels = download(options.folder, options.python, tuple(options.wanted))
    size = sum(wheel.stat().st_size for wheel in wheels)
    print(f"{len(wheels)} wheels, {size / 2**20:.1f} MiB. There, without network:")
    print(f"python -m pip install --no-index --no-deps {options.folder}/*.whl")
    if size > LIMIT:
        parser.error(f"that is more than {LIMIT / 2**20:.0f} MiB: leave some out with --wanted.")


if __name__ == "__main__":
    main()
