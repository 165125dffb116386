import pytest

from pdt_lightning import kept


def test_what_is_kept_is_whole_and_replaces_what_was_there():
    for text in ("one", "two"):
        place = kept.keep("test", lambda folder, text=text: (folder / "text").write_text(text))
        assert place == kept.folder() / "test"
        assert (place / "text").read_text() == text
    assert [path.name for path in kept.folder().iterdir() if "partial" in path.name] == []


def test_what_fails_half_way_leaves_what_was_there():
    kept.keep("test-half", lambda folder: (folder / "text").write_text("whole"))

    def fails(folder):
        (folder / "text").write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        kept.keep("test-half", fails)
    assert (kept.folder() / "test-half" / "text").read_text() == "whole"
    assert [path.name for path in kept.folder().iterdir() if "partial" in path.name] == []
