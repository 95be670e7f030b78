"""Writes what READMEs show of the code, `make readme`: every connector's settings, with its configuration.json, and
blocks of its own.

A block of a connector's own stands between `<!-- module.function: written by `make readme` -->` and
`<!-- end of module.function -->`: the function of that module of the connector returns the text between. For
`module.__doc__` it is the table in the module's docstring.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

from tests.loading import CONNECTORS, NAMES, load_module, load_spec

BEGIN, END = "<!-- settings: written by `make readme` -->\n", "<!-- end of settings -->"
_BLOCK = re.compile(
    r"(?P<begin><!-- (?P<module>\w+)\.(?P<function>\w+): written by `make readme` -->\n).*?"
    r"(?P<end><!-- end of (?P=module)\.(?P=function) -->)",
    re.DOTALL,
)


def readme(name: str) -> Path:
    """The README of connectors/NAME."""
    return CONNECTORS / name / "README.md"


def with_settings(text: str, table: str) -> str:
    """The README's text with `table` between its two marks; raises ValueError if it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the README needs the lines {BEGIN!r} and {END!r} around its settings table")
    return before + begin + table + end + after


def with_blocks(name: str, text: str) -> str:
    """The text of the README of connectors/NAME with its own blocks as the connector's functions return them."""

    def written(block: re.Match[str]) -> str:
        found = getattr(load_module(name, block["module"]), block["function"])
        content: str = table_in(found) if isinstance(found, str) else found()
        return block["begin"] + content + block["end"]

    return _BLOCK.sub(written, text)


def table_in(docstring: str) -> str:
    """The table in a docstring, whose columns begin where those of its headings do, as Markdown.

    >>> print(table_in("Values.\\n\\n    type    what\\n    LONG    whole numbers\\n            of 64 bits"), end="")
    | type | what |
    |---|---|
    | LONG | whole numbers of 64 bits |
    """
    paragraphs = (dedent(text).strip("\n").split("\n") for text in docstring.split("\n\n")[1:])
    lines = next(lines for lines in paragraphs if "  " in lines[0])
    starts = [heading.start() for heading in re.finditer(r"\S+( \S+)*", lines[0])]
    rows: list[list[str]] = []
    for cells in (list(_cells(line, starts)) for line in lines):
        if cells[0]:
            rows.append(cells)
        else:  # the line before goes on
            rows[-1] = [f"{above} {cell}".strip() for above, cell in zip(rows[-1], cells, strict=True)]
    head, *body = (f"| {' | '.join(row)} |\n" for row in rows)
    return head + "|---" * len(starts) + "|\n" + "".join(body)


def _cells(line: str, starts: list[int]) -> Iterator[str]:
    for start, end in zip(starts, [*starts[1:], len(line)], strict=True):
        yield line[start:end].strip()


def main() -> None:
    for name in NAMES:
        settings = load_spec(name).Settings
        path = readme(name)
        path.write_text(with_blocks(name, with_settings(path.read_text(), settings.markdown_table())))
        path.with_name("configuration.json").write_text(json.dumps(settings.sample(), indent=2) + "\n")
        print(f"connectors/{name}: README.md and configuration.json written")


if __name__ == "__main__":
    main()
