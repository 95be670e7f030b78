"""connectors/files over random histories of a folder, killed anywhere: the destination ends as the files are."""

import gzip
import random
import time
from contextlib import suppress
from pathlib import Path

import pytest

from shared import checkpoints
from shared.errors import ConnectorError
from tests.loading import load_connector
from tests.recording import Destination, sync

connector = load_connector("files")
reading = connector.read_pages.__globals__

Key = tuple[str, ...]
Row = tuple[str, ...]

STEPS = 8
TICK = 0.006  # of the file system's clock


class History:
    """Files that come, grow, shrink, are replaced, renamed and removed, some of them broken for a while."""

    def __init__(self, folder: Path, aside: Path, seed: int, keyed: bool) -> None:
        self.folder, self.aside, self.keyed = folder, aside, keyed
        self.chance = random.Random(seed)
        self.files: dict[str, list[str]] = {}
        self.broken: set[str] = set()
        self.waiting: list[tuple[str, list[str]]] = []
        self.written = 0

    def step(self) -> None:
        """One thing that happens."""
        chance, known = self.chance, sorted(self.files)
        what = chance.choice(["new", "grow", "shrink", "replace", "remove", "rename", "late", "arrive"])
        if what == "new" or not known:
            self.write(f"{chance.randrange(10)}.csv" + chance.choice(["", ".gz"]), self.lines(0))
        elif what == "late":  # written now, in a folder that is moved here later
            name, lines = f"late{self.written}/x.csv", self.lines(0)
            self.put(self.aside / name, "\n".join(["id,v", *lines, ""]).encode())
            self.waiting.append((name, lines))
        elif what == "arrive" and self.waiting:
            name, lines = self.waiting.pop()
            (self.aside / name).parent.rename((self.folder / name).parent)
            self.files[name] = lines
        else:
            self.change(what, chance.choice(known))

    def change(self, what: str, name: str) -> None:
        lines = self.files[name]
        if what == "grow":
            self.write(name, lines + self.lines(len(lines)))
        elif what == "shrink":
            self.write(name, lines[: len(lines) // 2])
        elif what == "replace":
            self.write(name, self.lines(0))
        else:
            time.sleep(TICK)
            del self.files[name]
            if what == "rename":
                other = f"renamed{self.written}.csv" + (".gz" if name.endswith(".gz") else "")
                (self.folder / name).rename(self.folder / other)
                self.files[other] = lines
                self.broken = {other if broken == name else broken for broken in self.broken}
            else:
                (self.folder / name).unlink()
                self.broken.discard(name)
            time.sleep(TICK)

    def lines(self, start: int) -> list[str]:
        """Some records, no two of all the history alike."""
        self.written += 1
        count = self.chance.choice([1, 3, 40, 400])
        keys = [self.chance.randrange(30) if self.keyed else start + number for number in range(count)]
        return [f"{key},{self.written}-{number}{'y' * self.chance.randrange(40)}" for number, key in enumerate(keys)]

    def write(self, name: str, lines: list[str], may_break: bool = True) -> None:
        self.files[name] = lines
        self.broken.discard(name)
        text = ["id,v", *lines, ""]
        is_broken = may_break and self.chance.random() < 0.2
        if is_broken:
            self.broken.add(name)
        if is_broken and not name.endswith(".gz"):
            text.insert(self.chance.randrange(1, len(text)), "bad")
        data = "\n".join(text).encode()
        if name.endswith(".gz"):
            data = gzip.compress(data)
            data = data[: len(data) // 2] if is_broken else data
        self.put(self.folder / name, data)

    def put(self, path: Path, data: bytes) -> None:
        time.sleep(TICK)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        time.sleep(TICK)

    def repair(self) -> None:
        """Writes the broken files as they should be."""
        for name in sorted(self.broken):
            self.write(name, self.files[name], may_break=False)

    def truth(self) -> dict[Key, Row]:
        """What has to be delivered, by key."""
        order = sorted(self.files, key=lambda name: ((self.folder / name).stat().st_ctime_ns, name))
        found: dict[Key, Row] = {}
        for name in order:
            for number, line in enumerate(self.files[name], start=2):
                key, _, value = line.partition(",")
                where = (name, str(number))
                found[(key,) if self.keyed else where] = (*where, key, value)
        return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("deletes", [False, True], ids=["kept", "deleted"])
@pytest.mark.parametrize("keyed", [False, True], ids=["lines", "keys"])
def test_whatever_happens_between_syncs_the_destination_ends_as_the_files_are(
    seed: int, deletes: bool, keyed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(reading, "SETTLING_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)
    history = History(tmp_path / "folder", tmp_path / "aside", seed, keyed)
    history.folder.mkdir()
    settings = {"location": str(history.folder), "tables": "t = **/*.*", "page_bytes": "10000"}
    if keyed:
        settings["primary_keys"] = "t = id"
    if deletes:
        settings["delete_removed"] = "true"
    destination = Destination()
    for _ in range(STEPS):
        for _ in range(history.chance.randrange(1, 4)):
            history.step()
        stop_at = history.chance.choice([5, 30, 300, 100_000])
        with suppress(ConnectorError):  # of a file that is broken
            sync(connector, settings, destination, stop_at=stop_at)
        if stop_at < 100_000 and history.chance.random() < 0.5:
            destination = destination.after_crash()
    history.repair()
    sync(connector, settings, destination)

    found: dict[Key, Row] = {
        (row["id"],) if keyed else (row["_file"], row["_line"]): (row["_file"], row["_line"], row["id"], row["v"])
        for row in destination.table("t")
    }
    truth = history.truth()
    if deletes:
        assert found == truth or not truth
    elif keyed:  # a record that is in no file any more may be there, and one that it hid is not sent again
        now = set(truth.values())
        assert truth.keys() <= found.keys()
        assert all(found[key] == truth[key] for key in truth if found[key] in now)
    else:
        assert {key: found.get(key) for key in truth} == truth
