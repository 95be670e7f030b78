"""Runs a connector as it is configured, without Fivetran, and shows its memory at every page.

    python -m profiling.profile_connector files               resident memory at every page
    python -m profiling.profile_connector files allocations   also the lines that hold most, and what grew (slow)

The operations end in a sink that counts them, so what is seen is the connector's own memory.
"""

import argparse
import json
import os
import sys

from shared import memory_profiling
from shared.errors import ConnectorError
from tests.loading import CONNECTORS, NAMES, load_connector
from tests.recording import CountingSink, with_sink


def main() -> None:
    parser = argparse.ArgumentParser(description="Shows a connector's memory at every page.")
    parser.add_argument("connector", choices=NAMES)
    parser.add_argument("depth", nargs="?", choices=["usage", "allocations"], default="usage")
    arguments = parser.parse_args()
    os.environ[memory_profiling.VARIABLE] = arguments.depth

    try:
        profile(arguments.connector)
    except ConnectorError as error:
        sys.exit(f"{arguments.connector}: {error}")


def profile(name: str) -> None:
    """Runs connectors/NAME from the beginning; raises ConnectorError when it cannot."""
    connector = load_connector(name)
    configuration = json.loads((CONNECTORS / name / "configuration.json").read_text())
    sink = CountingSink(connector.schema(configuration))
    before = memory_profiling.resident_bytes()
    with_sink(sink, lambda: connector.update(configuration=configuration, state={}), verbose=True)
    grown = (memory_profiling.resident_bytes() - before) / 2**20
    print(f"{name}: {sink.operations:,} records and checkpoints sent; memory grew by {grown:.1f} MB over the sync")


if __name__ == "__main__":
    main()
