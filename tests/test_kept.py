import os
import subprocess
import sys

import pytest

from pdt_lightning import kept
from pdt_lightning.errors import UserError


def partials():
    return [path.name for path in kept.folder().iterdir() if "partial" in path.name]


def test_what_is_kept_is_made_once_for_each_source():
    made = []
    for text in ("one", "two", "two", "one"):
        place = kept.keep("some/kind", [text], lambda folder, text=text: made.append(text) or (folder / "text").write_text(text))
        assert place.parent == kept.folder()
        assert (place / "text").read_text() == text
    assert made == ["one", "two"]
    assert partials() == []


def test_what_fails_half_way_leaves_nothing():
    def fails(folder):
        (folder / "text").write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        kept.keep("half", 1, fails)
    assert partials() == []
    assert (kept.keep("half", 1, lambda folder: (folder / "text").write_text("whole")) / "text").read_text() == "whole"


def test_processes_that_make_the_same_do_not_get_in_each_others_way():
    code = (
        "from pdt_lightning import kept\n"
        "for n in range(300):\n"
        "    place = kept.keep('race', n, lambda folder: (folder / 'text').write_text(str(n)))\n"
        "    assert (place / 'text').read_text() == str(n)\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]


def test_what_nobody_asks_for_is_removed_after_a_month():
    used, unused = (kept.keep("month", n, lambda folder: None) for n in range(2))
    for place in (used, unused):
        os.utime(place, (0, 0))
    kept.keep("month", 0, lambda folder: None)
    kept.keep("month", 2, lambda folder: None)
    assert used.exists()
    assert not unused.exists()


def test_what_a_killed_process_left_is_removed_after_a_day():
    for name, age in ((".partial-old", 2 * kept.DAY), (".partial-new", 0)):
        (kept.folder() / name).mkdir(parents=True)
        now = (kept.folder() / name).stat().st_mtime
        os.utime(kept.folder() / name, (now - age, now - age))
    kept.keep("sweep", 1, lambda folder: None)
    assert partials() == [".partial-new"]
    (kept.folder() / ".partial-new").rmdir()


def test_a_folder_that_cannot_be_written_is_named_with_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PDT_LIGHTNING_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(UserError, match="Set PDT_LIGHTNING_CACHE to a folder that can"):
        kept.keep("nowhere", 1, lambda folder: None)
