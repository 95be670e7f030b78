"""Writes every connector's configuration.json, and the table in its README, from its settings: `make readme`."""

import json
from pathlib import Path

from tests.loading import CONNECTORS, NAMES, load_spec

BEGIN, END = "<!-- settings: written by `make readme` -->\n", "<!-- end of settings -->"


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


def main() -> None:
    for name in NAMES:
        settings = load_spec(name).Settings
        path = readme(name)
        path.write_text(with_settings(path.read_text(), settings.markdown_table()))
        path.with_name("configuration.json").write_text(json.dumps(settings.sample(), indent=2) + "\n")
        print(f"connectors/{name}: README.md and configuration.json written")


if __name__ == "__main__":
    main()
