import os
import subprocess
import sys

import pytest

from pdt_lightning.core import cache
from pdt_lightning.core.errors import UserError


def partials():
    return [path.name for path in cache.folder().iterdir() if "partial" in path.name]


def test_what_is_kept_is_made_once_for_each_source():
    made = []
    for text in ("one", "two", "two", "one"):
        place = cache.keep(
            "some/kind", [text], lambda folder, text=text: made.append(text) or (folder / "text").write_text(text)
        )
        assert place.parent == cache.folder()
        assert (place / "text").read_text() == text
    assert made == ["one", "two"]
    assert partials() == []


def test_what_fails_half_way_leaves_nothing():
    def fails(folder):
        (folder / "text").write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        cache.keep("half", 1, fails)
    assert partials() == []
    assert (cache.keep("half", 1, lambda folder: (folder / "text").write_text("whole")) / "text").read_text() == "whole"


def test_processes_that_make_the_same_do_not_get_in_each_others_way():
    code = (
        "from pdt_lightning.core import cache\n"
        "for n in range(300):\n"
        "    place = cache.keep('race', n, lambda folder: (folder / 'text').write_text(str(n)))\n"
        "    assert (place / 'text').read_text() == str(n)\n"
    )
    started = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]


def test_what_nobody_asks_for_is_removed_after_a_month():
    used, unused = (cache.keep("month", n, lambda folder: None) for n in range(2))
    for place in (used, unused):
        os.utime(place, (0, 0))
    cache.keep("month", 0, lambda folder: None)
    cache._sweep.cache_clear()  # as in a new process
    cache.keep("month", 2, lambda folder: None)
    assert used.exists()
    assert not unused.exists()


def test_what_a_killed_process_left_is_removed_after_a_day():
    for name, age in ((".partial-old", 2 * cache.DAY), (".partial-new", 0)):
        (cache.folder() / name).mkdir(parents=True)
        now = (cache.folder() / name).stat().st_mtime
        os.utime(cache.folder() / name, (now - age, now - age))
    cache._sweep.cache_clear()  # as in a new process
    cache.keep("sweep", 1, lambda folder: None)
    assert partials() == [".partial-new"]
    (cache.folder() / ".partial-new").rmdir()


def test_a_folder_that_cannot_be_written_is_named_with_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PDT_LIGHTNING_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(UserError, match="Set PDT_LIGHTNING_CACHE to a folder that can"):
        cache.keep("nowhere", 1, lambda folder: None)
