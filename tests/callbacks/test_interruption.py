"""Checkpoints are written beside their place: the old one stays until the new one is whole."""

import tempfile

import pytest
import torch

from pdt_lightning.callbacks.interruption import WholeFiles


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "checkpoints" / "last.ckpt"
    WholeFiles().save_checkpoint({"update": 1}, path)

    def full(number, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pdt_lightning.core.files.os.fdopen", full)
    with pytest.raises(OSError, match="No space left"):
        WholeFiles().save_checkpoint({"update": 2}, path)
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
    assert torch.load(path, weights_only=True) == {"update": 1}


def test_it_needs_no_folder_for_temporary_files_which_may_be_on_another_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    WholeFiles().save_checkpoint({"update": 1}, tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True) == {"update": 1}
