import shutil
import subprocess
import sys

import pytest

from pdt_lightning.core.errors import of_the_disk
from pdt_lightning.core.files import check_room, write_atomically

WRITE = """
import sys
from pdt_lightning.core.files import write_atomically
for n in range(1000):
    write_atomically(sys.argv[1], sys.argv[2] * 1000)
"""


def test_several_may_write_one_file_at_once(tmp_path):
    path = tmp_path / "sub" / "file"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(path), letter], stderr=subprocess.PIPE) for letter in "ab"
    ]
    for writer in writers:
        assert writer.communicate(timeout=120)[1] == b""
        assert writer.returncode == 0
    assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_atomically(tmp_path / "folder", "text")  # a folder is in the way of the rename
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_file_may_be_read_by_whom_others_may(tmp_path):
    (tmp_path / "plain").write_text("")
    write_atomically(tmp_path / "file", "text")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_too_little_room_is_an_error_of_the_system_before_anything_is_written(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path).free
    check_room(tmp_path / "not" / "there", free // 2)
    with pytest.raises(OSError, match="No space left on device") as full:
        check_room(tmp_path / "not" / "there", 10 * free)
    assert of_the_disk(full.value).startswith(f"{tmp_path / 'not' / 'there'}: No space left on device. All that was")
    assert list(tmp_path.iterdir()) == []
