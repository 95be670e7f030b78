"""Makes a new connector as a copy of another: `make new NAME=orders FROM=rest_api`."""

import argparse
import re
import shutil

from tests.loading import CONNECTORS, NAMES


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
    readme = CONNECTORS / name / "README.md"
    readme.write_text(
        re.sub("^# .*", f"# {name}", readme.read_text().replace(f"connectors/{source}", f"connectors/{name}"), count=1)
    )
    print(
        f"connectors/{name} is a copy of connectors/{source}: declare its settings and tables in service_spec.py next"
    )


if __name__ == "__main__":
    main()
