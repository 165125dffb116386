"""Evidence, remade by one command: pretrains, compares tuners, and writes the page and the figures of every study.

python -m benchmarks.study point_j1 half_cheetah_vel --out runs/study --docs docs/studies

Without names it goes through all studies, in the order of their value. What is done is not done again: stopped, it goes
on with the same command. `--dry_run` only says what is left to do, and what that costs.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from omegaconf import OmegaConf
from rich.table import Table

from benchmarks import study_page
from benchmarks.studies import STUDIES, Setting, Study
from pdt_lightning import compare
from pdt_lightning.commands.configurations import FOLDER
from pdt_lightning.comparison.plan import Plan, tuner_names
from pdt_lightning.core.processes import cores
from pdt_lightning.core.terminal import quiet, show
from pdt_lightning.tasks import make_family


def run_folder(out: Path, name: str, seed: int) -> Path:
    """Of one pretraining."""
    return out / name / f"S{seed}" / "version_0"


def checkpoint(out: Path, name: str, seed: int) -> Path:
    """Its last one."""
    return run_folder(out, name, seed) / "checkpoints" / "last.ckpt"


def is_pretrained(out: Path, name: str, seed: int) -> bool:
    """Whether a pretraining has come to its end."""
    summary = run_folder(out, name, seed) / "summary.json"
    return summary.is_file() and json.loads(summary.read_text())["final"]


def pretraining(own: Study) -> list[str]:
    """The command of a pretraining, but for seed and place."""
    return ["python", "-m", "pdt_lightning.fit", "--config", f"conf/{own.config}", *own.fit]


def pretrain(out: Path, name: str, own: Study, seed: int) -> None:
    """Pretrain with one seed on one core, with no more tuning than a run cannot do without."""
    if is_pretrained(out, name, seed):
        return
    print(f"{name}: pretraining with seed {seed} ...", file=sys.stderr, flush=True)
    flags = [f"--seed={seed}", f"--name=S{seed}", f"--trainer.default_root_dir={out / name}"]
    flags += ["--trainer.enable_progress_bar=false", "--tuning.progress=false", "--data.progress=false"]
    flags += ["--tuning.every_n_epochs=0", "--tuning.rounds=1", "--tuning.oracle_candidates=0"]
    flags += ["--tuning.verdict_episodes=1", "--tuning.yardstick_episodes=1"]
    flags += ["--ckpt_path=last"] if run_folder(out, name, seed).exists() else []
    command = [sys.executable, *pretraining(own)[1:], *flags]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)


def comparison(out: Path, name: str, own: Study, setting: Setting) -> list[str]:
    """The command of a comparison."""
    paths = [str(checkpoint(out, name, seed)) for seed in range(own.pretrainings)]
    options = [f"--family_options.{option}={value}" for option, value in setting.family_options.items()]
    return [
        *("python", "-m", "pdt_lightning.compare", "--ckpt_path", *paths, "--tuners", *own.tuners),
        *(f"--rounds={own.rounds}", f"--budgets={json.dumps(list(own.budgets), separators=(',', ':'))}"),
        *(f"--seeds={own.seeds}", f"--verdict_episodes={own.episodes}", *own.compare, *options),
        f"--out={out / name / setting.name}",
    ]


def tuned_tasks(own: Study, setting: Setting) -> int:
    """How many tasks are tuned."""
    flags = [flag.removeprefix("--") for flag in own.fit]
    data = OmegaConf.merge(OmegaConf.load(FOLDER / own.config), OmegaConf.from_dotlist(flags)).data
    return len(make_family(data.family, {**(data.get("family_options") or {}), **setting.family_options}).heldout_tasks)


def rollouts(out: Path, name: str, own: Study, setting: Setting) -> int:
    """Rollouts of one comparison, at most."""
    config = compare.parser().parse_args(comparison(out, name, own, setting)[3:])
    tasks = tuple(map(str, range(tuned_tasks(own, setting))))
    options = compare.tuning_options(config)
    run = (config.precision, config.width, {}, tuple(config.budgets), config.engine)
    plan = Plan(tuple(config.ckpt_path), tasks, tuner_names(config.tuners), config.seeds, 1, options, *run)
    return sum(plan.rollouts(job) for job in plan.jobs())


def costs(out: Path, wanted: dict[str, Study]) -> Table:
    """What is left to do and what it costs, as a table: hours on the cores of this machine."""
    machine = f"{cores()} core{'s' * (cores() > 1)} as fast as ours"
    table = Table(title=f"Left to do; hours on {machine}", title_justify="left")
    for column in ("study", "pretrainings", "comparisons", "rollouts, at most", "hours", "disk, MB"):
        table.add_column(column, justify="left" if column == "study" else "right")
    sums = [0, 0, 0, 0.0, 0.0]
    for name, own in wanted.items():
        seeds = sum(not is_pretrained(out, name, seed) for seed in range(own.pretrainings))
        left = [one for one in own.settings if not (out / name / one.name / "summary.json").is_file()]
        played = sum(rollouts(out, name, own, setting) for setting in left)
        hours = (60 * own.minutes * seeds + played / own.per_second) / cores() / 3600
        demonstrations, each = own.megabytes
        disk = (demonstrations if seeds else 0) + each * (seeds + len(left))
        row = [seeds, len(left), played, hours, disk]
        sums = [one + other for one, other in zip(sums, row, strict=True)]
        table.add_row(name, f"{seeds}", f"{len(left)}", f"{played:,}", f"{hours:.1f}", f"{disk:,.0f}")
    table.add_section()
    table.add_row("all", f"{sums[0]}", f"{sums[1]}", f"{sums[2]:,}", f"{sums[3]:.1f}", f"{sums[4]:,.0f}")
    return table


def run(out: Path, docs: Path, name: str, own: Study) -> None:
    """Do what is left to do of a study, and write its page after each comparison."""
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(lambda seed: pretrain(out, name, own, seed), range(own.pretrainings)))
    done: list[tuple[Setting, str]] = []
    for setting in own.settings:
        command = comparison(out, name, own, setting)
        subprocess.run([sys.executable, *command[1:]], check=True)  # does nothing anew that is done
        done.append((setting, shlex.join(command)))
        study_page.write(docs, name, own, shlex.join(pretraining(own)), out / name, done)


def arguments() -> argparse.ArgumentParser:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"Studies: {', '.join(STUDIES)}. None means all.")
    parser.add_argument("--out", type=Path, default=Path("runs/study"), help="For runs and comparisons.")
    parser.add_argument("--docs", type=Path, default=None, help="For pages and figures; left out: beside the runs.")
    parser.add_argument("--settings", nargs="+", help="Only these sets of candidates.")
    parser.add_argument("--pretrainings", type=int, help="Seeds of pretraining, in place of the study's own.")
    parser.add_argument("--seeds", type=int, help="Seeds of tuning, in place of the study's own.")
    parser.add_argument("--dry_run", action="store_true", help="Only say what is left to do, and what it costs.")
    return parser


def chosen(given: argparse.Namespace, parser: argparse.ArgumentParser) -> dict[str, Study]:
    """The studies that are wanted, changed as the flags say."""
    for name in given.names:
        if name not in STUDIES:
            parser.error(f"there is no study {name!r}. There are: {', '.join(STUDIES)}.")
    found = {}
    for name in given.names or STUDIES:
        own = STUDIES[name]
        changes = {key: getattr(given, key) for key in ("pretrainings", "seeds") if getattr(given, key)}
        settings = tuple(one for one in own.settings if not given.settings or one.name in given.settings)
        if not settings:
            known = ", ".join(one.name for one in own.settings)
            parser.error(f"--settings: study {name} has none of {', '.join(given.settings)}. It has: {known}.")
        found[name] = replace(own, settings=settings, **changes)
    return found


def main() -> None:
    """Do what is left to do."""
    parser = arguments()
    given = parser.parse_args()
    quiet()
    wanted = chosen(given, parser)
    show(costs(given.out, wanted))
    if given.dry_run:
        return
    for name, own in wanted.items():
        run(given.out, given.docs or given.out, name, own)


if __name__ == "__main__":
    main()
