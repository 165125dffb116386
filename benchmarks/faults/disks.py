"""What a full and a read-only disk do to every kind of write: a clear error, all earlier results whole, and going on.

python -m benchmarks.faults.disks

Each command writes into a file system of its own, in memory, which is too small for all that it writes: it fills up in
the middle of one file or another. The results of an earlier run lie there already. The command has to end in one
message, without a traceback, and to leave them as they are. Then there is room, and it has to find what it finds on a
disk that was never full. The same with a disk that is read-only from the start. This needs Linux, where everyone may
mount such file systems in a namespace of their own.
"""

import argparse
import errno
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.job import FLAGS, LIMIT

SHARES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)  # of what a command writes, after which the disk is full
SLACK = 16 * 2**10  # bytes for the folders themselves
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
FOUND = r"prompts/.*safetensors|(tuning|results|recommended|transfer|matrix)\.csv|model\.safetensors"


@dataclass(frozen=True)
class Write:
    """A kind of write.

    Args:
        name: of it.
        command: of the package: `{disk}` is the folder that fills up, `{home}` one that does not, and `{run}` that of a
            finished run.
        variable: environment variable that names the folder that fills up, where no option does.
        again: flags with which the command goes on.
    """

    name: str
    command: tuple[str, ...]
    variable: str = ""
    again: tuple[str, ...] = ()


RUN = ("fit", *FLAGS, "--trainer.max_epochs=2", "--tuning.verdict_episodes=4", "--tuning.rounds=8")
OF_RUN = ("--ckpt_path={run}/checkpoints/last.ckpt", "--tasks=[point/03,point/07]", "--workers=1")
SMALL = ("--rounds=4", "--verdict_episodes=4", "--oracle_candidates=2", "--oracle_episodes=1", "--parallel=1")
WRITES = (
    Write("a run", (*RUN, "--trainer.default_root_dir={disk}"), again=("--ckpt_path=last",)),
    Write("demonstrations", (*RUN, "--trainer.default_root_dir={home}"), "MINARI_DATASETS_PATH"),
    Write("mapped files", (*RUN, "--trainer.default_root_dir={home}"), "PDT_LIGHTNING_CACHE"),
    Write("tune", ("tune", *OF_RUN, *SMALL, "--out={disk}/out")),
    Write("compare", ("compare", *OF_RUN, *SMALL, "--tuners=flat", "--seeds=1", "--out={disk}/out")),
    Write("transfer", ("transfer", *OF_RUN, "--prompts={run}/prompts", "--episodes=4", "--out={disk}/out")),
    Write("export", ("export", OF_RUN[0], "--out={disk}/out")),
)


def contents(folder: Path) -> dict[str, bytes]:
    """All files, by their place."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def size(files: Mapping[str, bytes]) -> int:
    """Bytes that files take on a disk of this kind, whose pages have 4 KiB."""
    return sum(-(-len(content) // 4096) * 4096 for content in files.values())


def found(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """What a command was called for, which depends on nothing but its options."""
    return {name: content for name, content in files.items() if re.fullmatch(f"(.*/)?({FOUND})", name)}


def played(
    write: Write, run: Path, before: Path, place: Path, room: int | None = None, more: tuple[str, ...] = ()
) -> tuple[int, str, dict[str, bytes]]:
    """Run a command with its folder on a disk of its own.

    Args:
        write: has the command.
        run: a finished run's folder.
        before: what lies on the disk; what is there at the end comes back into it.
        place: for all else.
        room: bytes of the disk; None: more than enough; -1: it is read-only.
        more: flags.

    Returns:
        Exit code, what the command said, and the files on the disk.
    """
    disk, home, after = place / "disk", place / "home", place / "after"
    for folder in (disk, home):
        folder.mkdir(exist_ok=True)
    shutil.rmtree(after, ignore_errors=True)
    words = [word.format(disk=disk, home=home, run=run) for word in (*write.command, *more)]
    command = shlex.join([sys.executable, "-m", f"pdt_lightning.{words[0]}", *words[1:]])
    limit = f",size={room}" if room and room > 0 else ""
    script = f"""
        mount -t tmpfs -o nr_inodes=100k{limit} tmpfs {disk} || exit 77
        cp -r {before}/. {disk} || exit 78
        {f"mount -o remount,ro {disk}" if room == -1 else "true"}
        {command}
        code=$?
        cp -r {disk} {after}
        exit $code
    """
    own = {write.variable: str(disk)} if write.variable else {}
    done = subprocess.run(
        [*NAMESPACE, script],
        env={**os.environ, "OMP_NUM_THREADS": "1", **own},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if done.returncode in (77, 78):
        raise RuntimeError(f"No disk of its own could be made: {done.stderr}")
    return done.returncode, done.stdout + done.stderr, contents(after)


def wrong(write: Write, run: Path, earlier: Path, place: Path, room: int, whole: Mapping[str, bytes]) -> list[str]:
    """What is not as it has to be where the disk has so much room; `whole` are the files where it has more."""
    code, said, left = played(write, run, earlier, place, room)
    # Where it was full for figures alone they are left out, and the command says so; or there was room for all.
    enough = code == 0 and found(left) == found(whole)
    enough &= "figures could not be drawn and are left out" in said or os.strerror(errno.ENOSPC) not in said
    faults = [] if enough or (code in (1, 2) and "error: " in said) else [f"it ended with {code}"]
    faults += ["a traceback"] if "Traceback" in said else []
    for name, content in contents(earlier).items():
        if left.get(name) != content:
            faults.append(f"{name} of earlier results is another one")
    if not code:
        return [*faults, said[-1500:]] if faults else []
    # All that is there under a name of its own is whole: the command goes on with it.
    again = place / "after"
    begun = write.again if any(name.startswith("run/") for name in left) else ()
    code, more, files = played(write, run, again.rename(place / "left"), place, None, begun)
    if code:
        faults.append(f"with room again it ended with {code}: {more[-600:]}")
    elif found(files) != found(whole):
        faults.append("with room again it found something else")
    return [*faults, said[-1500:]] if faults else []


def main(args: list[str] | None = None) -> bool:
    """Fill disks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=[write.name for write in WRITES])
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES)
    options = parser.parse_args(args)
    sound = True
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "empty").mkdir()
        (base / "first").mkdir()
        code, said, _ = played(WRITES[0], base, base / "empty", base / "first")
        if code:
            raise RuntimeError(said)
        run, earlier = base / "run", base / "earlier"
        shutil.copytree(base / "first" / "after" / "run" / "version_0", run)
        shutil.copytree(run, earlier / "earlier")
        for write in (one for one in WRITES if one.name in options.kinds):
            name = write.name.replace(" ", "_")
            (base / name).mkdir()
            code, said, whole = played(write, run, earlier, base / name)
            if code:
                raise RuntimeError(said)
            before = size(contents(earlier))
            rooms = {
                f"full after {share:.0%}": before + SLACK + int(share * (size(whole) - before))
                for share in options.shares
            }
            for what, room in {**rooms, "read-only": -1}.items():
                place = base / f"{name}-{room}"
                place.mkdir()
                faults = wrong(write, run, earlier, place, room, whole)
                shutil.rmtree(place)
                sound &= not faults
                print(f"{write.name}, {what}: {'; '.join(faults) or 'as it has to be'}", flush=True)
    return sound


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
