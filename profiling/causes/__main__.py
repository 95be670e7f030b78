"""Seven causes of high memory, measured: `make causes`.

python -m profiling.causes          runs all connectors, and writes the figures into README.md and the pictures
python -m profiling.causes serve    keeps the sources running that their configuration.json names
"""

import argparse
import os
import sys
import time
from contextlib import suppress

from profiling.causes import measuring, sources
from profiling.causes.gallery import CAUSES, FOLDER, LARGE, SMALL
from profiling.running import ProfileError
from tests.sources.interruption import Interruption

# As in the configuration.json of the connectors; the practice sources have 5432 and 5001.
HTTP_PORT, POSTGRES_PORT = 5090, 5433

READY = """The sources of the gallery are ready, with {rows} rows:

  an API       {sources.url}/{rows}, with customers, orders, products and documents
  a CSV file   {sources.url}/{rows}/customers.csv
  PostgreSQL   port {sources.postgres_port}, database {database}

In a second terminal, in the repository's folder:

  make profile CONNECTOR={folder}/collected/bad
  make profile CONNECTOR={folder}/collected/good

and so on: {names}.
{small} in the place of {rows} in a configuration.json asks for fewer rows.

Ctrl-C stops them."""


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m profiling.causes", description=__doc__.partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=["measure", "serve"], default="measure")
    work = serve if parser.parse_args().what == "serve" else measure_all
    with Interruption() as interruption:
        try:
            work(interruption)
        except (RuntimeError, ProfileError) as failure:
            print(f"causes: {failure}", file=sys.stderr)
            return 1
        return 0
    with suppress(OSError):  # after SIGHUP there is no terminal any more
        print("\ncauses: interrupted; everything it started is stopped and removed", file=sys.stderr)
    return 0 if work is serve else 130


def measure_all(interruption: Interruption) -> None:
    """Runs the fourteen connectors at two sizes."""
    print("starting an API and PostgreSQL", flush=True)
    with interruption.running(sources.start([SMALL, LARGE])) as started:
        gallery = [measuring.measure(started, cause, tell=tell) for cause in CAUSES]
    measuring.write(gallery)
    print(f"\n{measuring.terminal_table(gallery)}\n\nwritten: {os.path.relpath(measuring.README)} and its pictures")


def serve(interruption: Interruption) -> None:
    """Keeps the sources running in the foreground until it is interrupted."""
    print("starting an API and PostgreSQL ...", flush=True)
    with interruption.running(sources.start([SMALL, LARGE], HTTP_PORT, POSTGRES_PORT)) as started:
        print(
            READY.format(
                sources=started,
                rows=LARGE,
                small=SMALL,
                database=sources.database_of(LARGE),
                folder=os.path.relpath(FOLDER),
                names=", ".join(cause.name for cause in CAUSES),
            ),
            flush=True,
        )
        while True:
            time.sleep(1)


def tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
