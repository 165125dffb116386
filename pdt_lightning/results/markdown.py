"""Tables as Markdown."""

from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], rule: str = "---") -> str:
    """A table, without a line's end after its last line.

    Args:
        header: of its columns.
        rows: of as many cells.
        rule: below the header: `---:` puts cells to the right, but for the first ones.

    >>> print(markdown_table(["tuner", "return"], [["structured", "9.7"]], "---:"))
    | tuner | return |
    | --- | ---: |
    | structured | 9.7 |
    """
    lines = [header, ["---", *[rule] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
