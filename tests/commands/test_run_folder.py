"""Where a run lives: one folder for all its ranks, however they are started; `last` and a requeue find it again."""

import json
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from pdt_lightning.commands.run_folder import (
    RUN_VARIABLE,
    export_run_folder,
    find_run,
    inherited_run_folder,
    lock_run_folder,
    make_version,
    record_slurm_job,
    requeued,
)
from pdt_lightning.core.errors import LostRank, UserError
from pdt_lightning.model.checkpoints import FROM_DATA
from tests.conftest import POINT_FLAGS
from tests.processes import ROOT, command

SHORT = [
    *POINT_FLAGS,
    "--tuning.tasks=[point/03,point/07]",
    "--tuning.rounds=2",
    "--tuning.verdict_episodes=1",
    "--tuning.oracle_candidates=0",
    "--trainer.log_every_n_steps=1",
    "--model.dropout=0.0",
    "--data.updates_per_epoch=3",
]


def flags(folder, *more):
    return [*SHORT, "--name=run", f"--trainer.default_root_dir={folder}", *more]


def torchrun(ranks, *arguments):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}", f"--master-port={port}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*launch, "-m", "pdt_lightning.fit", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )


def slurm(ranks, *arguments):
    """As `srun` starts them: each process by itself, told by Slurm's variables who it is."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NAME": "job",
        "SLURM_NTASKS": str(ranks),
        "SLURM_NODEID": "0",
        "MASTER_PORT": port,
    }
    shared |= {"SLURM_NODELIST": "localhost", "SLURM_NTASKS_PER_NODE": str(ranks), "MASTER_ADDR": "127.0.0.1"}

    def one(rank):
        own = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
        return command("fit", *arguments, check=False, **shared, **own)

    with ThreadPoolExecutor(ranks) as together:
        done = list(together.map(one, range(ranks)))
    said = ("".join(getattr(process, name) for process in done) for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(arguments, max(process.returncode for process in done), *said)


def launcher(ranks, *arguments):
    return command("fit", *arguments, check=False)


@pytest.mark.parametrize(("start", "ranks"), [(launcher, 1), (launcher, 2), (torchrun, 2), (slurm, 2)])
def test_all_ranks_live_in_one_folder_and_go_on_there(tmp_path, point_data, start, ranks):
    on = ["--config=conf/ddp.yaml", "--trainer.accelerator=cpu", f"--trainer.devices={ranks}"] if ranks > 1 else []
    first = flags(tmp_path, *on, "--trainer.max_epochs=1")
    done = start(ranks, *first)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    folder = tmp_path / "run" / "version_0"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["version_0"]
    (tmp_path / "run" / "version_1").mkdir()  # of a run that ended before its first checkpoint
    done = start(ranks, *flags(tmp_path, *on, "--trainer.max_epochs=2", "--ckpt_path=last"))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert f"from {folder}/checkpoints/last.ckpt, after update 3 in epoch 0" in done.stdout
    assert not any((tmp_path / "run" / "version_1").iterdir())
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 6
    # The first epoch was not made again: its row in the file of tuned rounds is the first run's.
    phases = [line.split(",")[:2] for line in (folder / "tuning.csv").read_text().splitlines()[1:]]
    assert sorted({tuple(phase) for phase in phases}) == [("0", "0"), ("1", "1")]


def test_runs_that_begin_together_have_a_folder_each(tmp_path):
    made, gate = [], threading.Barrier(8)

    def make():
        gate.wait()
        made.append(make_version(tmp_path / "run"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in made) == [f"version_{n}" for n in range(8)]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match=r"--trainer.default_root_dir: .*run.* Name another folder"):
        make_version(tmp_path / "run")


def test_last_is_the_newest_run_with_a_checkpoint(tmp_path):
    for number in (0, 2, 10):
        (tmp_path / f"version_{number}" / "checkpoints").mkdir(parents=True)
    assert find_run(tmp_path, "last") == (tmp_path / "version_10", None, "")
    checkpoint = tmp_path / "version_2" / "checkpoints" / "last.ckpt"
    written = {
        "hyper_parameters": dict.fromkeys(FROM_DATA, 2),
        "state_dict": {},
        "datamodule_hyper_parameters": {"family": "point"},
    }
    torch.save(written, checkpoint)
    assert find_run(tmp_path, "last") == (tmp_path / "version_2", checkpoint, "")
    assert find_run(tmp_path, None) == (None, None, "")
    assert find_run(tmp_path, str(checkpoint)) == (tmp_path / "version_2", checkpoint, "")
    assert find_run(tmp_path, "elsewhere.ckpt")[0] is None
    with pytest.raises(FileNotFoundError, match="there is no run under"):
        find_run(tmp_path / "other", "last")


def test_only_the_processes_that_a_run_starts_are_told(tmp_path, monkeypatch):
    monkeypatch.delenv(RUN_VARIABLE, raising=False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert inherited_run_folder() is None
    monkeypatch.setenv(RUN_VARIABLE, "")
    monkeypatch.delenv(RUN_VARIABLE)
    export_run_folder(tmp_path, None)
    assert inherited_run_folder() is None  # this process told it, and was not told
    monkeypatch.setenv(RUN_VARIABLE, json.dumps([os.getppid(), str(tmp_path), None]))
    assert inherited_run_folder() == (tmp_path, None)
    monkeypatch.setenv(RUN_VARIABLE, json.dumps([1, str(tmp_path), None]))
    with pytest.raises(LostRank, match="the first rank, which has started this one, has ended"):
        inherited_run_folder()
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "of another launcher")
    assert inherited_run_folder() is None


def test_a_job_that_slurm_starts_again_finds_its_own_folder(tmp_path, monkeypatch):
    folders = [make_version(tmp_path) for _ in range(3)]
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    record_slurm_job(folders[2], ["--a"])
    assert not any(folders[2].iterdir())
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    record_slurm_job(folders[0], ["--seed=1"])
    record_slurm_job(folders[1], ["--seed=2"])
    assert requeued(tmp_path, ["--seed=1"]) is None  # it is the first time
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert requeued(tmp_path, ["--seed=1"]) == folders[0]
    assert requeued(tmp_path, ["--seed=2"]) == folders[1]
    assert requeued(tmp_path, ["--seed=3"]) is None
    monkeypatch.setenv("SLURM_JOB_ID", "78")
    assert requeued(tmp_path, ["--seed=1"]) is None


def test_a_requeued_job_goes_on_by_our_rules(tmp_path, point_data):
    """SIGUSR1, which Slurm sends before a job's time is over, saves and asks for the job to be started again."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "scontrol").write_text(f"#!/bin/sh\necho $@ > {tmp_path}/asked\n")
    (tmp_path / "bin" / "scontrol").chmod(0o755)
    (tmp_path / "signalled.py").write_text(
        "import os, signal, lightning\n"
        "class Signalled(lightning.Callback):\n"
        "    def on_train_batch_end(self, trainer, *args):\n"
        "        if trainer.global_step == 1 and not int(os.environ['SLURM_RESTART_COUNT']):\n"
        "            os.kill(os.getpid(), signal.SIGUSR1)\n"
    )
    job = {
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NAME": "job",
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
    }
    job |= {"SLURM_NODEID": "0", "SLURM_NODELIST": "localhost", "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    job |= {"PYTHONPATH": str(tmp_path), "SLURM_RESTART_COUNT": "0"}
    wanted = flags(tmp_path, "--trainer.max_epochs=1", '--trainer.callbacks=[{"class_path":"signalled.Signalled"}]')
    done = command("fit", *wanted, check=False, **job)
    assert done.returncode == 128 + 10, done.stderr[-3000:]
    assert "Slurm job 77 is requeued" in done.stdout
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    assert not list(tmp_path.rglob("hpc_ckpt*"))
    other = command("fit", *wanted, "--name=other", check=True, **{**job, "SLURM_RESTART_COUNT": "1"})
    assert "other/version_0, from the start" in other.stdout
    again = command("fit", *wanted, **{**job, "SLURM_RESTART_COUNT": "1"})
    assert "run/version_0/checkpoints/last.ckpt, after update 1 in epoch 0" in again.stdout
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["version_0"]


def test_a_users_logger_counts_versions_as_the_run_does(tmp_path, point_data):
    (tmp_path / "run" / "version_3").mkdir(parents=True)
    command(
        "fit",
        *flags(tmp_path, "--trainer.max_epochs=1", "--tuning.rounds=1"),
        "--trainer.logger=lightning.pytorch.loggers.CSVLogger",
        f"--trainer.logger.save_dir={tmp_path / 'csv'}",
    )
    assert (tmp_path / "run" / "version_4" / "summary.json").is_file()
    assert (tmp_path / "csv" / "lightning_logs" / "version_4" / "metrics.csv").is_file()


@pytest.mark.parametrize("kind", [CSVLogger, TensorBoardLogger])
def test_lightnings_loggers_take_a_version_late(tmp_path, kind):
    """What `RunCLI` leans on: the version is looked up when it is first needed."""
    logger = kind(tmp_path)
    logger._version = 7
    assert logger.log_dir.endswith("version_7")


def test_last_is_the_newest_that_can_be_read_and_why(tmp_path):
    written = {
        "hyper_parameters": dict.fromkeys(FROM_DATA, 2),
        "state_dict": {},
        "datamodule_hyper_parameters": {"family": "point"},
    }
    for number in (0, 1):
        (tmp_path / f"version_{number}" / "checkpoints").mkdir(parents=True)
    older, newer = (tmp_path / f"version_{number}" / "checkpoints" / "last.ckpt" for number in (0, 1))
    torch.save(written, older)
    newer.write_bytes(older.read_bytes()[:100])  # as a full disk leaves it
    folder, checkpoint, why = find_run(tmp_path, "last")
    assert (folder, checkpoint) == (tmp_path / "version_0", older)
    assert f"{newer}: its 100 bytes are no checkpoint" in why
    torch.save(written, newer.with_name("best.ckpt"))
    folder, checkpoint, why = find_run(tmp_path, "last")
    assert (folder, checkpoint) == (tmp_path / "version_1", newer.with_name("best.ckpt"))
    assert "no checkpoint" in why
    newer.with_name("best.ckpt").unlink()
    older.unlink()
    with pytest.raises(UserError, match=rf"no checkpoint under {tmp_path} can be read.*{newer}: its 100 bytes"):
        find_run(tmp_path, "last")


def test_a_folder_is_one_process_s_at_a_time(tmp_path):
    first = lock_run_folder(tmp_path)
    with pytest.raises(UserError, match=rf"{tmp_path} is in use by process {os.getpid()} on "):
        lock_run_folder(tmp_path)
    first.close()
    lock_run_folder(tmp_path).close()
