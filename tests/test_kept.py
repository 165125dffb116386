import pytest

from pdt_lightning import kept


def test_what_is_kept_is_whole_and_replaces_what_was_there():
    made = []
    for text in ("one", "two", "two"):
        place = kept.keep("test", [text], lambda folder, text=text: made.append(text) or (folder / "text").write_text(text))
        assert place == kept.folder() / "test"
        assert (place / "text").read_text() == text
    assert made == ["one", "two"]
    assert [path.name for path in kept.folder().iterdir() if "partial" in path.name] == []


def test_what_fails_half_way_leaves_what_was_there():
    kept.keep("test-half", 1, lambda folder: (folder / "text").write_text("whole"))

    def fails(folder):
        (folder / "text").write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        kept.keep("test-half", 2, fails)
    assert (kept.folder() / "test-half" / "text").read_text() == "whole"
    assert [path.name for path in kept.folder().iterdir() if "partial" in path.name] == []
