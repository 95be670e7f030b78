"""Makes a new connector as a copy of another: `make new NAME=orders FROM=rest_api`."""

import argparse
import re
import shutil

from tests import readmes
from tests.loading import CONNECTORS, NAMES, load_spec

# What its author has to say, with what `make readme` keeps up to date.
README = """# {name}

What it delivers, and from where.

    fivetran debug connectors/{name}

## Settings

{settings}

## Tables

| table | key | what a later sync delivers |
|---|---|---|

## What it does not do

How its parts are declared is in the [README of {source}](../{source}/README.md).
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make new", description="Makes a new connector as a copy of another.")
    parser.add_argument("name", help="lower case letters, digits and underscores")
    parser.add_argument("source", choices=NAMES)
    arguments = parser.parse_args()
    name, source = arguments.name, arguments.source
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        parser.error(f"name it like this: make new NAME=orders (lower case letters, digits, underscores), not {name!r}")
    if (CONNECTORS / name).exists():
        parser.error(f"connectors/{name} is there already")
    # What `fivetran debug` left there belongs to the other connector.
    left_out = shutil.ignore_patterns("files", "crash-reports", "__pycache__", ".*", "*.zip")
    shutil.copytree(CONNECTORS / source, CONNECTORS / name, symlinks=True, ignore=left_out)
    settings = load_spec(source).Settings.markdown_table()
    readme = README.format(name=name, source=source, settings=f"{readmes.BEGIN}{settings}{readmes.END}")
    (CONNECTORS / name / "README.md").write_text(readme)
    print(
        f"connectors/{name} is a copy of connectors/{source}: declare its settings and tables in service_spec.py next"
    )


if __name__ == "__main__":
    main()
