"""A sync that runs out of memory ends with a sentence and all its progress, and not without a word."""

import gc
import json
import sys
import threading
import time
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared import memory_limit, pages
from shared.checkpoints import Checkpoints
from shared.errors import ConnectorError, MemoryLimitReached, reported
from shared.memory_limit import MemoryLimit
from shared.memory_profiling import resident_bytes
from shared.pages import Page, deliver, log_progress, prefetch
from tests.profiling.limited import run_limited
from tests.recording import Destination, Sink, with_sink
from tests.shared.leaking import ROWS

MB = 2**20
MACHINE = 8_000 * MB
V1_MOUNT = "35 31 0:32 {root} /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory"
V2_MOUNT = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
OTHER_MOUNTS = "22 1 254:0 / / rw - ext4 /dev/root rw\n31 22 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"


class Machine:
    """The files that tell a process of its control group, below a folder of a test's own."""

    def __init__(self, root: Path, groups: str, mounts: str) -> None:
        self.root = root
        self.write("proc/meminfo", f"MemTotal:       {MACHINE // 1024} kB\nMemFree:        1024 kB\n")
        self.write("proc/self/cgroup", groups)
        self.write("proc/self/mountinfo", OTHER_MOUNTS + mounts + "\n")

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def v1(self, group: str, most: object, used: int = 0) -> None:
        folder = f"sys/fs/cgroup/memory{group}"
        self.write(f"{folder}/memory.limit_in_bytes", f"{most}\n")
        # Pages of files fill a group up to its limit, and are no reason to end.
        self.write(
            f"{folder}/memory.stat", f"cache 77\nrss 1\ntotal_cache {MACHINE}\ntotal_rss {used}\ntotal_shmem 0\n"
        )

    def v2(self, group: str, most: object, used: int = 0) -> None:
        folder = f"sys/fs/cgroup{group}"
        self.write(f"{folder}/memory.max", f"{most}\n")
        self.write(f"{folder}/memory.stat", f"anon {used}\nfile {MACHINE}\nkernel 5\nshmem 0\n")

    def limit(self) -> MemoryLimit:
        return MemoryLimit(self.root)


def v1(root: Path, group: str = "/", mounted: str = "/") -> Machine:
    return Machine(root, f"5:cpu,cpuacct:/other\n4:memory:{group}\n0::/\n", V1_MOUNT.format(root=mounted))


def v2(root: Path, group: str = "/", mounted: str = "/") -> Machine:
    return Machine(root, f"0::{group}\n", V2_MOUNT.format(root=mounted))


class TestTheLimitIsFound:
    def test_of_version_2_in_a_namespace_of_its_own(self, tmp_path: Path) -> None:
        machine = v2(tmp_path)
        machine.v2("", 512 * MB)
        assert machine.limit().most == 512 * MB

    def test_of_version_2_in_the_whole_hierarchy(self, tmp_path: Path) -> None:
        machine = v2(tmp_path, "/system.slice/sync.service")
        machine.v2("/system.slice/sync.service", 300 * MB)
        assert machine.limit().most == 300 * MB

    def test_of_version_1_in_a_namespace_of_its_own(self, tmp_path: Path) -> None:
        machine = v1(tmp_path)
        machine.v1("", 512 * MB)
        assert machine.limit().most == 512 * MB

    def test_of_version_1_where_the_mount_begins_at_the_container(self, tmp_path: Path) -> None:
        machine = v1(tmp_path, "/docker/3f/init", mounted="/docker/3f")
        machine.v1("", 512 * MB)
        machine.v1("/init", "9223372036854771712")
        assert machine.limit().most == 512 * MB

    @pytest.mark.parametrize("mounted", ["/docker/3f", "/../.."])
    def test_where_the_path_does_not_lead_to_the_mount(self, tmp_path: Path, mounted: str) -> None:
        machine = v2(tmp_path, "/", mounted)
        machine.v2("", 512 * MB)
        assert machine.limit().most == 512 * MB

    def test_where_both_versions_are_mounted_and_one_has_the_memory(self, tmp_path: Path) -> None:
        both = V1_MOUNT.format(root="/") + "\n" + V2_MOUNT.format(root="/").replace("/cgroup ", "/cgroup/unified ")
        machine = Machine(tmp_path, "4:memory:/box\n0::/box\n", both)
        machine.v1("/box", 512 * MB)
        (tmp_path / "sys/fs/cgroup/unified/box").mkdir(parents=True)
        assert machine.limit().most == 512 * MB

    @pytest.mark.parametrize(("outer", "inner"), [(200, 300), (300, 200)])
    def test_the_smallest_up_the_hierarchy_counts(self, tmp_path: Path, outer: int, inner: int) -> None:
        machine = v2(tmp_path, "/pod/container/sync")
        machine.v2("/pod", outer * MB)
        machine.v2("/pod/container", inner * MB)
        machine.v2("/pod/container/sync", "max")
        assert machine.limit().most == 200 * MB

    def test_of_two_that_are_the_same_the_outer_one_counts_with_all_that_is_in_it(self, tmp_path: Path) -> None:
        machine = v2(tmp_path, "/pod/container")
        machine.v2("/pod", 200 * MB, used=199 * MB)
        machine.v2("/pod/container", 200 * MB, used=10 * MB)
        with pytest.raises(MemoryLimitReached, match="199 MB of the 200 MB"):
            machine.limit().check("t", 1, 0)


class TestWithoutALimitNothingIsChecked:
    @pytest.mark.parametrize(
        "most",
        ["max", "9223372036854771712", MACHINE + 4096, "0", "-1", "", "a lot", "1.5"],
        ids=lambda most: str(most),
    )
    def test_a_number_that_is_none_or_absurd(self, tmp_path: Path, most: object) -> None:
        for machine, write in ((one := v1(tmp_path / "1"), one.v1), (two := v2(tmp_path / "2"), two.v2)):
            write("", most, used=MACHINE)
            assert machine.limit().most is None
            machine.limit().check("t", 1, 0)

    def test_as_much_as_the_machine_has_is_a_limit(self, tmp_path: Path) -> None:
        machine = v2(tmp_path)
        machine.v2("", MACHINE)
        assert machine.limit().most == MACHINE

    def test_a_machine_without_control_groups(self, tmp_path: Path) -> None:
        assert MemoryLimit(tmp_path).most is None

    @pytest.mark.parametrize("path", ["proc/self/cgroup", "proc/self/mountinfo", "proc/meminfo"])
    @pytest.mark.parametrize("text", ["", "garbage\n", ":::\n", "MemTotal: lots kB\n", "\x00\n", "1 2 3 - \n"])
    def test_files_that_say_nothing_or_nonsense(self, tmp_path: Path, path: str, text: str) -> None:
        machine = v2(tmp_path)
        machine.v2("", 512 * MB, used=MACHINE)
        machine.write(path, text)
        assert machine.limit().most is None
        machine.limit().check("t", 1, 0)

    def test_files_that_are_no_text(self, tmp_path: Path) -> None:
        machine = v2(tmp_path)
        machine.v2("", 512 * MB)
        (tmp_path / "proc/self/mountinfo").write_bytes(b"\xff\xfe\n")
        assert machine.limit().most is None

    def test_a_group_outside_of_what_is_shown(self, tmp_path: Path) -> None:
        machine = v2(tmp_path, "/../other")
        machine.v2("", 512 * MB)
        assert machine.limit().most is None


class TestWhatCounts:
    def test_nine_tenths_of_the_limit_of_what_cannot_be_freed(self, tmp_path: Path) -> None:
        machine = v1(tmp_path)
        machine.v1("", 100 * MB, used=89 * MB)
        machine.limit().check("t", 1, 0)
        machine.v1("", 100 * MB, used=90 * MB)
        with pytest.raises(MemoryLimitReached):
            machine.limit().check("t", 1, 0)

    def test_files_in_memory_count(self, tmp_path: Path) -> None:
        machine = v2(tmp_path)
        machine.v2("", 100 * MB)
        machine.write("sys/fs/cgroup/memory.stat", f"anon {50 * MB}\nshmem {45 * MB}\n")
        with pytest.raises(MemoryLimitReached, match="95 MB of the 100 MB"):
            machine.limit().check("t", 1, 0)

    @pytest.mark.parametrize("stat", [None, "", "garbage", "anon lots\n"])
    def test_the_process_itself_where_the_group_does_not_tell(self, tmp_path: Path, stat: str | None) -> None:
        machine = v2(tmp_path)
        machine.v2("", resident_bytes() // 2)
        path = tmp_path / "sys/fs/cgroup/memory.stat"
        path.unlink() if stat is None else path.write_text(stat)
        with pytest.raises(MemoryLimitReached):
            machine.limit().check("t", 1, 0)
        machine.v2("", resident_bytes() * 10)
        path.unlink()
        machine.limit().check("t", 1, 0)

    def test_not_what_a_garbage_collection_frees(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        machine = v2(tmp_path)
        machine.v2("", 100 * MB, used=95 * MB)
        monkeypatch.setattr(gc, "collect", lambda: machine.v2("", 100 * MB, used=50 * MB))
        machine.limit().check("t", 1, 0)

    def test_not_what_other_processes_of_the_container_hold(self, tmp_path: Path) -> None:
        machine = v2(tmp_path)
        most = 5 * resident_bytes()
        machine.v2("", most, used=most * 99 // 100)
        machine.limit().check("t", 1, 0)

    @pytest.mark.parametrize(("used", "seconds"), [(49, 0.2), (51, 0.02)])
    def test_is_looked_at_from_time_to_time_and_more_often_near_the_limit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, used: int, seconds: float
    ) -> None:
        now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: now)
        machine = v2(tmp_path)
        machine.v2("", 100 * MB, used=used * MB)
        limit = machine.limit()
        limit.check("t", 1, 0)
        machine.v2("", 100 * MB, used=99 * MB)
        now += seconds * 0.99
        limit.check("t", 2, 0)
        now += seconds * 0.02
        with pytest.raises(MemoryLimitReached):
            limit.check("t", 3, 0)


class TestTheSentence:
    def test_says_what_where_how_much_and_what_to_do(self, tmp_path: Path) -> None:
        machine = v2(tmp_path)
        machine.v2("", 256 * MB, used=240 * MB)
        with pytest.raises(MemoryLimitReached) as told:
            machine.limit().check("sales.orders", 1234, 4 * MB)
        assert isinstance(told.value, ConnectorError)
        assert str(told.value) == (
            "memory is nearly used up: 240 MB of the 256 MB that the container may have, after page 1,234 of the sync "
            "(table sales.orders, 4.0 MB of values); everything delivered so far is saved and the next sync goes on "
            "where this one ended; if this comes again and again, lower the settings for the size of a page and for "
            "calls at a time, or find what holds the memory with `make profile`"
        )

    def test_leaves_out_a_size_that_is_not_known(self, tmp_path: Path) -> None:
        machine = v2(tmp_path)
        machine.v2("", 256 * MB, used=240 * MB)
        with pytest.raises(MemoryLimitReached, match=r"\(table t\);"):
            machine.limit().check("t", 1, 0)


class TestASyncThatRunsOutOfMemory:
    """Every page takes 20 MB of 200 for good, as the control group tells it."""

    @pytest.fixture
    def machine(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
        machine = v2(tmp_path)
        machine.v2("", 200 * MB)
        monkeypatch.setattr(pages, "MemoryLimit", partial(MemoryLimit, tmp_path))
        monkeypatch.setattr(memory_limit, "_SECONDS_BETWEEN", 0)
        monkeypatch.setattr(memory_limit, "_SECONDS_BETWEEN_NEAR", 0)
        return machine

    def sync(self, machine: Machine, destination: Destination, count: int) -> Sink:
        sink, closed = Sink(destination), threading.Event()

        def read_pages(first: int) -> Generator[Page, None, None]:
            try:
                for number in range(first, count):
                    yield Page("t", [{"id": number}], {"at": number + 1})
            finally:
                closed.set()

        @reported()
        def update(state: dict[str, Any]) -> None:
            with Checkpoints(state) as checkpoints:
                position = checkpoints.position("t") or {"at": 0}
                with prefetch(read_pages(position["at"])) as ahead:
                    for done, page in enumerate(log_progress(ahead), start=1):
                        deliver(page)
                        checkpoints.save(page)
                        machine.v2("", 200 * MB, used=done * 20 * MB)

        before = threading.active_count()
        try:
            with_sink(sink, lambda: update(destination.committed))
        finally:
            assert closed.is_set()
            assert threading.active_count() == before
        return sink

    def test_saves_all_that_was_delivered_and_fails_with_the_sentence(self, machine: Machine) -> None:
        destination = Destination()
        with pytest.raises(MemoryLimitReached, match="180 MB of the 200 MB .* after page 9 of the sync .table t"):
            self.sync(machine, destination, 30)
        left = destination.after_crash()
        assert sorted(int(row["id"]) for row in left.table("t")) == list(range(9))
        assert left.committed["streams"] == {"t": {"at": 9}}

    def test_shows_the_sentence_on_the_dashboard(self, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        told: list[str] = []
        monkeypatch.setattr(Sink, "task", lambda sink, task: told.append(json.loads(task.message)["message"]))
        with pytest.raises(MemoryLimitReached) as reached:
            self.sync(machine, Destination(), 30)
        assert told == [str(reached.value)]

    def test_is_gone_on_with_until_everything_is_there_once(self, machine: Machine) -> None:
        destination, syncs = Destination(), 1
        while True:
            machine.v2("", 200 * MB)
            try:
                last = self.sync(machine, destination, 30)
                break
            except MemoryLimitReached:
                destination, syncs = destination.after_crash(), syncs + 1
        assert syncs == 4
        assert last.upserts == {"t": 3}
        assert sorted(int(row["id"]) for row in destination.table("t")) == list(range(30))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps a process to its memory")
class TestUnderARealLimit:
    """The system kills what needs more than 128 MB; the sync leaks half a megabyte a page."""

    MOST, PAGES = 128 * MB, 300

    def test_a_leak_ends_with_the_sentence_and_not_one_record_is_lost(self) -> None:
        state: dict[str, Any] = {}
        arrived: list[int] = []
        for _ in range(30):
            ended = run_limited(["-m", "tests.shared.leaking", str(self.PAGES)], self.MOST, json.dumps(state))
            if ended.kind != "control group":
                pytest.skip("no control group can be made here")
            assert ended.returncode == 0, f"{ended.returncode}: {ended.output}{ended.errors}"
            said = json.loads(ended.output.splitlines()[-1])
            assert said["threads"] == 1
            assert said["upserts"] == len(said["ids"]), "a checkpoint stands behind everything delivered"
            assert said["state"]["streams"]["items"]["at"] * ROWS == said["ids"][-1] + 1
            arrived += said["ids"]
            if said["ended"] == "complete":
                break
            assert said["errors"] == [said["ended"]]
            assert "of the 128 MB that the container may have, after page" in said["ended"]
            state = said["state"]
        assert state, "the limit was never reached"
        assert arrived == list(range(self.PAGES * ROWS))

    def test_without_the_check_the_same_leak_is_killed_without_a_word(self) -> None:
        script = (
            "import sys; sys.argv[1:] = ['300']\n"
            "from shared.memory_limit import MemoryLimit\n"
            "MemoryLimit.check = lambda *_: None\n"
            "from tests.shared.leaking import main; main()"
        )
        ended = run_limited(["-c", script], self.MOST, "{}")
        assert ended.was_short
        assert ended.output == ""
