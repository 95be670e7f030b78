"""connectors/files on real folders: which files are read, when and from where; what is told of those that are wrong."""

import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from shared import checkpoints
from shared.errors import ConfigurationError, SourceError
from tests import stop_and_resume
from tests.loading import CONNECTORS, load_connector, load_module
from tests.recording import Destination, Sink, sync, with_sink

connector = load_connector("files")
reading = connector.read_pages.__globals__


@pytest.fixture(autouse=True)
def _every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Files of a test are taken at once, except where the test is about that."""
    if "settling" not in request.keywords:
        monkeypatch.setitem(reading, "SETTLING_SECONDS", 0.0)


class Folder:
    """A folder of a test's own, and the connector's configuration for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.configuration = {"location": str(path), "tables": "records = *.csv", "page_bytes": "10000"}

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def sync(
        self, destination: Destination | None = None, pattern: str = "*.csv", primary_key: str = "", **settings: str
    ) -> Sink:
        return sync(connector, self.settings(pattern, primary_key, **settings), destination)

    def settings(self, pattern: str = "*.csv", primary_key: str = "", **settings: str) -> dict[str, str]:
        """The configuration for one table of the files that a pattern names."""
        keys = {"primary_keys": f"records = {primary_key}"} if primary_key else {}
        return {**self.configuration, "tables": f"records = {pattern}", **keys, **settings}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def rows(sink: Sink) -> list[dict[str, Any]]:
    return sorted(sink.destination.table("records"), key=lambda row: (row["_file"], int(row["_line"])))


def texts(destination: Destination) -> list[dict[str, Any]]:
    """The records but for `_modified`, which is that of the file when they were delivered."""
    found = [{name: row[name] for name in row if name != "_modified"} for row in destination.table("records")]
    return sorted(found, key=lambda row: (row["_file"], int(row["_line"])))


class TestEveryRecordAsItIsWritten:
    def test_all_files_that_the_pattern_names(self, folder: Folder) -> None:
        folder.write("b.csv", "n\n1\n2\n")
        folder.write("a.csv", "n\n3\n")
        folder.write("deep/er/c.csv", "n\n4\n")
        folder.write("d.txt", "n\n5\n")
        assert [row["n"] for row in rows(folder.sync())] == ["3", "1", "2"]
        assert [row["n"] for row in rows(folder.sync(pattern="**/*.csv"))] == ["3", "1", "2", "4"]

    def test_file_and_line_are_the_key(self, folder: Folder) -> None:
        folder.write("a.csv", 'n,t\n1,"two\nlines"\n\n1,x\n')
        assert [(row["_file"], row["_line"]) for row in rows(folder.sync())] == [("a.csv", "2"), ("a.csv", "5")]

    def test_declared_columns_may_be_the_key(self, folder: Folder) -> None:
        folder.write("a.csv", "Order ID,v\n1,old\n")
        folder.write("b.csv", "Order ID,v\n1,new\n")
        sink = folder.sync(primary_key="order_id")
        assert len(sink.destination.table("records")) == 1

    @pytest.mark.parametrize(
        "value",
        ["00123", "NA", "1e5", "0.1234567890123456789", "2026-01-31", "true", "", " padded ", 'quote " inside', "a,b",
         "two\nlines", "two\r\nlines", "Zürich 😀", "null", "\ufeffBOM", "'", "\\N", "=1+1"],
    )  # fmt: skip
    def test_any_value(self, folder: Folder, value: str) -> None:
        quoted = '"' + value.replace('"', '""') + '"'
        folder.write("a.csv", f"id,value\n1,{quoted}\n")
        (row,) = rows(folder.sync())
        assert row["value"] == value

    @pytest.mark.parametrize("ending", ["\n", "\r\n"])
    @pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
    def test_any_line_ending_with_or_without_a_bom(self, folder: Folder, ending: str, bom: bytes) -> None:
        folder.write("a.csv", bom + ending.join(["a,b", "1,2", "3,4"]).encode())
        assert [(row["a"], row["b"], row["_line"]) for row in rows(folder.sync())] == [("1", "2", "2"), ("3", "4", "3")]

    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("*.csv", ["a.csv"]),
            ("**/*.csv", ["a.csv", "x/b.csv", "x/y/c.csv"]),
            ("x/*.csv", ["x/b.csv"]),
            ("x/**", ["x/b.csv", "x/y/c.csv"]),
            ("**/y/*", ["x/y/c.csv"]),
            ("*/*/[a-c].csv", ["x/y/c.csv"]),
            ("?.csv", ["a.csv"]),
            ("A.csv", []),
        ],
    )
    def test_patterns(self, folder: Folder, pattern: str, found: list[str]) -> None:
        for name in ("a.csv", "x/b.csv", "x/y/c.csv", "a.csv.d/e.txt"):
            folder.write(name, "n\n1\n")
        assert sorted({row["_file"] for row in rows(folder.sync(pattern=pattern))}) == found

    def test_a_blank_line_is_no_record_but_in_a_file_of_one_column(self, folder: Folder) -> None:
        folder.write("one.csv", "a\n1\n\n2\n")
        folder.write("two.csv", "a,b\n1,1\n\n2,2\n")
        assert [row["a"] for row in rows(folder.sync())] == ["1", "", "2", "1", "2"]

    @pytest.mark.parametrize(
        ("delimiter", "character"), [(r"\t", "\t"), ("\t", "\t"), (" ", " "), (";", ";"), ("|", "|")]
    )
    def test_any_delimiter(self, folder: Folder, delimiter: str, character: str) -> None:
        folder.write("a.csv", character.join("ab") + "\n" + character.join("1,") + "\n")
        assert [(row["a"], row["b"]) for row in rows(folder.sync(delimiter=delimiter))] == [("1", ",")]

    def test_every_column_is_declared_as_text(self, folder: Folder) -> None:
        folder.write("a.csv", "Order ID,orderDate\n1,2\n")
        folder.write("b.csv", "order_id,Größe,,order_id\n")
        (table,) = connector.schema(folder.configuration)
        assert table["columns"] == {
            "_file": "STRING", "_line": "LONG", "order_id": "STRING", "order_date": "STRING", "größe": "STRING",
            "column_3": "STRING", "order_id_2": "STRING", "_undeclared": "JSON",
        }  # fmt: skip

    def test_header_names_that_look_alike_keep_their_columns_apart(self) -> None:
        names = load_module("files", "column_names").column_names(
            ["a", "A", "a ", "", "_file", "a_2", "ID%", "_fivetran_synced"]
        )
        assert names == ["a", "a_2", "a_3", "column_4", "_file_2", "a_2_2", "id", "_fivetran_synced_2"]

    def test_files_with_different_columns(self, folder: Folder) -> None:
        folder.write("a.csv", "x,y\n1,2\n")
        folder.write("b.csv", "y,z\n3,4\n")
        first, second = rows(folder.sync())
        assert (first["x"], first["y"], second["y"], second["z"]) == ("1", "2", "3", "4")

    def test_empty_files_and_headers_without_rows_deliver_nothing(self, folder: Folder) -> None:
        folder.write("empty.csv", "")
        folder.write("header.csv", "a,b\n")
        assert folder.sync().upserts == {}

    def test_the_sample_works_as_it_stands(self) -> None:
        sink = sync(connector, {"location": "sample", "tables": "stations = *.csv"})
        assert [row["station"] for row in sink.destination.table("stations")] == [
            "00123",
            "00124",
            "00987",
            "01001",
            "01002",
        ]
        assert (CONNECTORS / "files" / "sample").is_dir()


class TestTheSecondSync:
    def test_with_nothing_new_nothing_is_delivered(self, folder: Folder) -> None:
        folder.write("a.csv", "n\n1\n")
        destination = Destination()
        folder.sync(destination)
        assert folder.sync(destination).upserts == {}

    def test_new_and_changed_files_are_read_and_only_those(self, folder: Folder) -> None:
        folder.write("a.csv", "n\n1\n2\n")
        folder.write("b.csv", "n\n1\n")
        destination = Destination()
        folder.sync(destination)
        folder.write("a.csv", "n\n7\n2\n3\n")
        folder.write("0.csv", "n\n9\n")
        assert folder.sync(destination).upserts == {"records": 4}
        assert len(destination.table("records")) == 5

    def test_a_copy_that_keeps_the_time_of_an_old_file_is_not_missed(self, folder: Folder) -> None:
        folder.write("b.csv", "n\n1\n")
        destination = Destination()
        folder.sync(destination)
        os.utime(folder.write("a.csv", "n\n2\n"), (1_000_000_000, 1_000_000_000))
        assert folder.sync(destination).upserts == {"records": 1}

    @pytest.mark.settling
    def test_a_file_just_written_is_waited_for_so_that_none_sorts_before_it(self, folder: Folder) -> None:
        folder.write("a.csv", "n\n1\n")
        started = time.time()
        assert folder.sync().upserts == {"records": 1}
        assert time.time() - started >= 1.5

    def test_a_date_that_a_file_claims_decides_nothing(self, folder: Folder) -> None:
        os.utime(folder.write("future.csv", "n\n1\n"), (4_000_000_000, 4_000_000_000))
        destination = Destination()
        assert folder.sync(destination).upserts == {"records": 1}
        folder.write("later.csv", "n\n2\n")
        assert folder.sync(destination).upserts == {"records": 1}

    def test_a_folder_moved_here_with_older_files_is_not_missed(
        self, folder: Folder, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        """Moving a folder leaves the times of the files in it as they are."""
        elsewhere = Folder(tmp_path_factory.mktemp("elsewhere"))
        elsewhere.write("old/a.csv", "n\n1\n")
        folder.write("b.csv", "n\n2\n")
        destination = Destination()
        folder.sync(destination, pattern="**/*.csv")
        (elsewhere.path / "old").rename(folder.path / "old")
        assert folder.sync(destination, pattern="**/*.csv").upserts == {"records": 1}
        assert folder.sync(destination, pattern="**/*.csv").upserts == {}

    def test_a_folder_that_is_swapped_for_another_is_read(self, folder: Folder) -> None:
        for release in ("one", "two"):
            folder.write(f"{release}/a.csv", f"n\n{release}\n")
        current = folder.path / "current"
        current.symlink_to(folder.path / "two")
        destination = Destination()
        folder.sync(destination, location=str(current))
        current.unlink()
        current.symlink_to(folder.path / "one")
        folder.sync(destination, location=str(current))
        assert [row["n"] for row in destination.table("records")] == ["one"]

    def test_a_removed_file_makes_nothing_else_be_read(self, folder: Folder) -> None:
        for number in range(40):
            folder.write(f"{number}.csv", "n\n1\n")
        destination = Destination()
        folder.sync(destination)
        (folder.path / "7.csv").unlink()
        assert folder.sync(destination).upserts == {}
        assert len(destination.table("records")) == 40, "what was removed stays, unless delete_removed is set"

    def test_hundreds_of_replaced_files_are_read_and_nothing_else(self, folder: Folder) -> None:
        for number in range(400):
            folder.write(f"{number}.csv", f"n\n{number}\n")
        destination = Destination()
        folder.sync(destination)
        for number in range(100, 400):
            folder.write(f"{number}.csv", f"n\n{number}x\n")
        assert folder.sync(destination).upserts == {"records": 300}
        assert folder.sync(destination).upserts == {}

    def test_more_changed_files_than_can_be_told_apart_make_all_be_read_again_and_say_so(self, folder: Folder) -> None:
        for number in range(1200):
            folder.write(f"{number}.csv", f"n\n{number}\n")
        destination = Destination()
        folder.sync(destination)
        for number in range(1100):
            (folder.path / f"{number}.csv").unlink()
        sink = folder.sync(destination)
        assert sink.upserts == {"records": 100}
        assert any("so many files were changed or removed that all are read again" in text for text in sink.warnings)

    def test_the_state_is_of_one_size_for_any_number_of_files(self, folder: Folder) -> None:
        sizes = []
        for count in (1500, 3000):
            for number in range(count):
                folder.write(f"{number}.csv", f"n\n{number}\n")
            sizes.append(len(str(folder.sync().destination.committed)))
        assert sizes[1] < sizes[0] + 2_000 < 40_000

    def test_a_file_with_a_key_that_came_late_overwrites_nothing_newer(
        self, folder: Folder, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        elsewhere = Folder(tmp_path_factory.mktemp("elsewhere"))
        elsewhere.write("old/x.csv", "id,v\n1,oldest\n2,only here\n")
        time.sleep(0.02)
        for name, value in (("a.csv", "older"), ("b.csv", "newest")):
            folder.write(name, f"id,v\n1,{value}\n")
            time.sleep(0.02)
        destination = Destination()
        folder.sync(destination, "**/*.csv", "id")
        (elsewhere.path / "old").rename(folder.path / "old")
        folder.sync(destination, "**/*.csv", "id")
        assert {row["id"]: row["v"] for row in destination.table("records")} == {"1": "newest", "2": "only here"}
        assert folder.sync(destination, "**/*.csv", "id").upserts == {}

    def test_a_file_that_comes_before_the_interrupted_one_overwrites_nothing_newer(
        self, folder: Folder, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        elsewhere = Folder(tmp_path_factory.mktemp("elsewhere"))
        elsewhere.write("old/x.csv", "id,v\n1,oldest\n")
        time.sleep(0.02)
        folder.write("c.csv", "id,v\n1,newest\n" + "".join(f"{n},{'x' * 50}\n" for n in range(2, 900)))
        settings = folder.settings("**/*.csv", "id")
        killed = sync(connector, settings, stop_at=700)
        assert killed.destination.committed["streams"]["records"]["marks"]
        (elsewhere.path / "old").rename(folder.path / "old")
        sync(connector, settings, killed.destination)
        assert next(row["v"] for row in killed.destination.table("records") if row["id"] == "1") == "newest"

    def test_interrupted_while_older_files_are_read_it_ends_the_same(self, folder: Folder, tmp_path: Path) -> None:
        for number in range(6):
            folder.write(f"old/{number}.csv", "n\n" + "x\n" * 50)
        (folder.path / "old").rename(folder.path.parent / f"{folder.path.name}-aside")
        folder.write("b.csv", "n\n2\n")
        destination = Destination()
        folder.sync(destination, pattern="**/*.csv")
        (folder.path.parent / f"{folder.path.name}-aside").rename(folder.path / "old")
        settings = folder.settings("**/*.csv")
        for _ in range(20):
            sync(connector, settings, destination, stop_at=120)
        assert destination.contents() == sync(connector, settings).destination.contents()

    def test_other_settings_read_everything_again_and_say_so(self, folder: Folder) -> None:
        folder.write("a.csv", "n\n1\n")
        destination = Destination()
        folder.sync(destination)
        sink = folder.sync(destination, pattern="*.cs*")
        assert sink.upserts == {"records": 1}
        assert any("settings have changed" in warning for warning in sink.warnings)


class TestFilesThatGrow:
    def test_only_what_was_appended_is_delivered(self, folder: Folder) -> None:
        path = folder.write("log.csv", "n,t\n" + "".join(f"{n},text\n" for n in range(1000)))
        destination = Destination()
        folder.sync(destination)
        with path.open("a") as file:
            file.write("1000,new\n1001,new\n")
        assert folder.sync(destination).upserts == {"records": 2}
        assert texts(destination) == texts(folder.sync().destination)

    def test_again_and_again_with_a_line_that_was_not_ended(self, folder: Folder) -> None:
        path = folder.write("log.csv", "n,t\n1,on")
        destination = Destination()
        for more in ("e\n2,t", "wo", "\n", "3,three"):
            folder.sync(destination)
            with path.open("a") as file:
                file.write(more)
        folder.sync(destination)
        assert [row["t"] for row in rows(folder.sync(destination))] == ["one", "two", "three"]
        assert texts(destination) == texts(folder.sync().destination)

    def test_what_came_before_is_verified(self, folder: Folder) -> None:
        path = folder.write("log.csv", "n,t\n1,one\n2,two\n")
        destination = Destination()
        folder.sync(destination)
        path.write_text("n,t\n1,ONE\n2,two\n3,three\n")
        assert folder.sync(destination).upserts == {"records": 3}
        assert [row["t"] for row in rows(folder.sync(destination))] == ["ONE", "two", "three"]

    def test_a_file_that_is_only_touched_delivers_nothing(self, folder: Folder) -> None:
        path = folder.write("log.csv", "n\n1\n")
        destination = Destination()
        folder.sync(destination)
        path.write_text("n\n1\n")
        assert folder.sync(destination).upserts == {}

    def test_interrupted_in_what_was_appended_it_goes_on(self, folder: Folder) -> None:
        path = folder.write("log.csv", "n,t\n" + "".join(f"{n},{'x' * 90}\n" for n in range(500)))
        destination = Destination()
        folder.sync(destination)
        with path.open("a") as file:
            file.writelines(f"{n},{'y' * 90}\n" for n in range(500, 1500))
        sync(connector, folder.configuration, destination, stop_at=700)
        assert folder.sync(destination).upserts["records"] < 600
        assert texts(destination) == texts(folder.sync().destination)

    def test_appended_while_it_was_interrupted_it_goes_on(self, folder: Folder) -> None:
        path = folder.write("log.csv", "n,t\n" + "".join(f"{n},{'x' * 90}\n" for n in range(1000)))
        killed = sync(connector, folder.configuration, stop_at=900)
        with path.open("a") as file:
            file.write("1000,y\n")
        assert folder.sync(killed.destination).upserts["records"] < 300
        assert texts(killed.destination) == texts(folder.sync().destination)

    def test_with_a_key_only_the_last_file_is_taken_up_where_it_ended(self, folder: Folder) -> None:
        """The records of any other file were overwritten by those of files behind it, and have to come again."""
        first = folder.write("a.csv", "id,v\n1,a\n")
        time.sleep(0.02)
        folder.write("b.csv", "id,v\n1,b\n")
        destination = Destination()
        folder.sync(destination, primary_key="id")
        time.sleep(0.02)
        with first.open("a") as file:
            file.write("2,a\n")
        folder.sync(destination, primary_key="id")
        assert texts(destination) == texts(folder.sync(primary_key="id").destination)
        with first.open("a") as file:
            file.write("3,a\n")
        assert folder.sync(destination, primary_key="id").upserts == {"records": 1}


class TestRemovedAndReplacedFiles:
    def test_by_setting_their_rows_are_deleted(self, folder: Folder) -> None:
        folder.write("a.csv", "n\n1\n2\n3\n")
        folder.write("b.csv", "n\n4\n")
        folder.write("c.csv", "n\n5\n")
        destination = Destination()
        folder.sync(destination, delete_removed="true")
        folder.write("a.csv", "n\n1\n")
        (folder.path / "b.csv").unlink()
        folder.sync(destination, delete_removed="true")
        assert [row["n"] for row in rows(folder.sync(destination, delete_removed="true"))] == ["1", "5"]

    def test_a_file_that_grew_deletes_nothing(self, folder: Folder) -> None:
        path = folder.write("a.csv", "n\n1\n2\n3\n")
        destination = Destination()
        folder.sync(destination, delete_removed="true")
        with path.open("a") as file:
            file.write("4\n")
        sink = folder.sync(destination, delete_removed="true")
        assert sink.upserts == {"records": 1}
        assert not any("truncate" in operation for operation in sink.order)

    def test_an_empty_folder_deletes_nothing(self, folder: Folder) -> None:
        """It may be a disk that is not there."""
        path = folder.write("a.csv", "n\n1\n")
        destination = Destination()
        folder.sync(destination, delete_removed="true")
        path.unlink()
        folder.sync(destination, delete_removed="true")
        assert len(destination.table("records")) == 1

    def test_what_was_removed_while_the_folder_was_empty_is_not_forgotten(self, folder: Folder) -> None:
        path = folder.write("a.csv", "n\n1\n")
        destination = Destination()
        folder.sync(destination, delete_removed="true")
        path.unlink()
        folder.sync(destination, delete_removed="true")
        folder.write("b.csv", "n\n2\n")
        folder.sync(destination, delete_removed="true")
        assert [row["n"] for row in destination.table("records")] == ["2"]

    def test_rows_of_a_file_that_was_read_in_part_are_deleted_too(self, folder: Folder) -> None:
        folder.write("0.csv", "n\n0\n")
        path = folder.write("1.csv", "n,t\n" + "".join(f"{n},{'x' * 90}\n" for n in range(1000)))
        settings = folder.settings(delete_removed="true")
        destination = sync(connector, settings, stop_at=600).destination
        path.unlink()
        sync(connector, settings, destination)
        assert [row["n"] for row in destination.table("records")] == ["0"]

    def test_set_later_it_deletes_what_was_left(self, folder: Folder) -> None:
        folder.write("a.csv", "n\n1\n2\n")
        destination = Destination()
        folder.sync(destination)
        folder.write("a.csv", "n\n9\n")
        folder.sync(destination)
        assert len(destination.table("records")) == 2
        folder.sync(destination, delete_removed="true")
        assert [row["n"] for row in destination.table("records")] == ["9"]
        assert folder.sync(destination, delete_removed="true").upserts == {}

    @pytest.mark.settling
    def test_a_log_that_is_written_all_the_time_is_read_up_to_its_last_line(
        self, folder: Folder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = folder.write("log.csv", "n\n1\n2\n")
        destination = Destination()
        monkeypatch.setitem(reading, "SETTLING_SECONDS", 0.0)
        folder.sync(destination, delete_removed="true")
        monkeypatch.setitem(reading, "SETTLING_SECONDS", 1000.0)  # all that changes now may be written to
        monkeypatch.setattr(time, "sleep", lambda _: None)
        with path.open("a") as file:
            file.write("3\n4")
        sink = folder.sync(destination, delete_removed="true")
        assert sorted(row["n"] for row in destination.table("records")) == ["1", "2", "3"]
        assert not any("truncate" in operation for operation in sink.order)
        monkeypatch.setitem(reading, "SETTLING_SECONDS", 0.0)
        folder.sync(destination, delete_removed="true")
        assert sorted(row["n"] for row in destination.table("records")) == ["1", "2", "3", "4"]

    def test_stopped_after_the_truncate_the_rows_come_back(self, folder: Folder) -> None:
        for number in range(5):
            folder.write(f"{number}.csv", "n\n" + "x\n" * 100)
        settings = folder.settings(delete_removed="true")
        destination = Destination()
        sync(connector, settings, destination)
        (folder.path / "2.csv").unlink()
        sync(connector, settings, destination, stop_at=150)
        sync(connector, settings, destination)
        assert destination.contents() == sync(connector, settings).destination.contents()

    def test_a_replaced_file_is_read_anew(self, folder: Folder) -> None:
        folder.write("a.csv", "n\n1\n2\n")
        destination = Destination()
        folder.sync(destination)
        folder.write("a.csv", "n\n9\n")
        assert folder.sync(destination).upserts == {"records": 1}
        assert [row["n"] for row in rows(folder.sync(destination))] == ["9", "2"], "without the setting, no row goes"


class TestFilesThatAreWrong:
    def test_a_file_of_the_wrong_format_does_not_hide_the_others(self, folder: Folder) -> None:
        folder.write("0.csv.gz", "this is no gzip")
        time.sleep(0.02)
        folder.write("1.csv", "n\n1\n")
        destination = Destination()
        for _ in range(2):
            with pytest.raises(
                SourceError,
                match="could not be read: 1, the others are delivered. 0.csv.gz is named like gzip, but is none",
            ):
                folder.sync(destination, "*.csv*")
            assert [row["n"] for row in destination.table("records")] == ["1"]
        folder.write("0.csv.gz", gzip.compress(b"n\n0\n"))
        folder.sync(destination, "*.csv*")
        assert sorted(row["n"] for row in destination.table("records")) == ["0", "1"]

    def test_with_a_key_it_is_told_again_by_every_sync_and_nothing_else_is_read_again(self, folder: Folder) -> None:
        folder.write("0.csv.gz", "this is no gzip")
        time.sleep(0.02)
        folder.write("1.csv", "id\n1\n")
        destination = Destination()
        with pytest.raises(SourceError):
            folder.sync(destination, "*.csv*", "id")
        assert len(destination.table("records")) == 1
        sink = Sink(destination)
        settings = folder.settings("*.csv*", "id")
        with pytest.raises(SourceError, match="0.csv.gz"):
            with_sink(sink, lambda: connector.update(configuration=settings, state=destination.committed))
        assert sink.upserts == {}

    def test_kept_in_a_table_where_the_setting_says_so(self, folder: Folder) -> None:
        folder.write("0.csv.gz", "this is no gzip")
        folder.write("1.csv", "n,m\n1,a\n2\n3,c\n")
        sink = folder.sync(pattern="*.csv*", on_bad_row="keep")
        assert [row["n"] for row in rows(sink)] == ["1", "3"]
        bad = {(row["_file"], row["_line"]): row for row in sink.destination.table("_bad_rows")}
        assert bad.keys() == {("0.csv.gz", "0"), ("1.csv", "3")}
        assert bad["1.csv", "3"]["raw"] == "2"
        assert "1 fields where the header has 2" in bad["1.csv", "3"]["reason"]
        assert any("_bad_rows" in warning for warning in sink.warnings)
        assert folder.sync(sink.destination, "*.csv*", on_bad_row="keep").upserts == {}

    def test_more_bad_rows_than_allowed_stop_the_sync(self, folder: Folder) -> None:
        folder.write("1.csv", "n,m\n" + "1\n" * 20)
        with pytest.raises(SourceError, match="more than 10 bad rows in one sync"):
            folder.sync(on_bad_row="keep", most_bad_rows="10")

    def test_the_first_bad_row_is_told_and_the_sync_stays_before_it(self, folder: Folder) -> None:
        folder.write("1.csv", "n,m\n1,a\n2\n3,c\n")
        destination = Destination()
        with pytest.raises(SourceError, match="1.csv, line 3: 1 fields where the header has 2.*on_bad_row"):
            folder.sync(destination)
        folder.write("1.csv", "n,m\n1,a\n2,b\n3,c\n")
        folder.sync(destination)
        assert [row["m"] for row in rows(folder.sync(destination))] == ["a", "b", "c"]

    def test_a_version_that_failed_does_not_count_as_the_one_before(self, folder: Folder) -> None:
        good = "n,m\n1,a\n2,b\n3,c\n"
        folder.write("1.csv", good)
        destination = Destination()
        folder.sync(destination)
        folder.write("1.csv", "n,m\n1,X\n2,X\nbad\n")
        with pytest.raises(SourceError):
            folder.sync(destination)
        folder.write("1.csv", good)
        folder.sync(destination)
        assert [row["m"] for row in rows(folder.sync(destination))] == ["a", "b", "c"]

    def test_stopped_by_a_bad_row_again_and_again_it_does_not_begin_again(self, folder: Folder) -> None:
        folder.write("1.csv", "n,m\n" + "".join(f"{n},{'x' * 90}\n" for n in range(1000)) + "bad\n")
        destination = Destination()
        sent = []
        for _ in range(4):
            sink = Sink(destination)
            with pytest.raises(SourceError):
                with_sink(
                    sink,
                    lambda: connector.update(configuration=folder.configuration, state=destination.committed),
                )
            sent.append(sink.upserts.get("records", 0))
        assert sent[0] >= 900
        assert max(sent[1:]) <= 120

    def test_a_file_that_may_not_be_read_is_read_once_it_may(self, folder: Folder, monkeypatch: Any) -> None:
        folder.write("1.csv", "n\n1\n")
        folder.write("2.csv", "n\n2\n")
        opened = Path.open

        def refuse(path: Path, *arguments: Any, **settings: Any) -> Any:
            if path.name == "1.csv":
                raise PermissionError(13, "Permission denied", str(path))
            return opened(path, *arguments, **settings)

        destination = Destination()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", refuse)  # root, who runs some tests, may read everything
            for _ in range(2):
                with pytest.raises(SourceError, match="1.csv cannot be read: Permission denied"):
                    folder.sync(destination, on_bad_row="keep")
        folder.sync(destination, on_bad_row="keep")
        assert sorted(row["n"] for row in destination.table("records")) == ["1", "2"]

    def test_a_bad_row_that_is_removed_leaves_nothing_behind(self, folder: Folder) -> None:
        folder.write("1.csv", "n,m\n1,a\nbad\n2,b\n3,c\n")
        destination = Destination()
        with pytest.raises(SourceError, match="1.csv, line 3"):
            folder.sync(destination)
        folder.write("1.csv", "n,m\n1,a\n2,b\n3,c\n")
        folder.sync(destination)
        assert [(row["_line"], row["n"]) for row in rows(folder.sync(destination))] == [
            ("2", "1"),
            ("3", "2"),
            ("4", "3"),
        ]

    def test_a_bad_row_of_a_declared_type_ends_the_page_too(self, folder: Folder) -> None:
        folder.write("1.csv", "n,m\n1,a\nx,b\n3,c\n4\n")
        destination = Destination()
        with pytest.raises(SourceError, match="1.csv, line 3: column n"):
            folder.sync(destination, columns="records.n = LONG")
        assert [row["n"] for row in destination.table("records")] == ["1"]

    def test_one_that_is_cut_does_not_hide_other_tables_where_keys_decide(self, folder: Folder) -> None:
        lines = "".join(f"{number},{number * 7919}\n" for number in range(20_000))
        folder.write("a/1.csv.gz", gzip.compress(f"id,v\n{lines}".encode())[:-5000])
        time.sleep(0.02)
        folder.write("a/2.csv", "id,v\n1,newer\n")
        folder.write("b/1.csv", "n\n1\n")
        settings = {**folder.configuration, "tables": "one = a/*; two = b/*", "primary_keys": "one = id"}
        destination = Destination()
        with pytest.raises(SourceError, match="1.csv.gz is cut.*files of one that came later wait for it"):
            sync(connector, settings, destination)
        assert len(destination.table("two")) == 1
        folder.write("a/1.csv.gz", gzip.compress(f"id,v\n{lines}".encode()))
        sync(connector, settings, destination)
        assert destination.contents() == sync(connector, settings).destination.contents()

    def test_bad_rows_stopped_at_any_operation(self, folder: Folder) -> None:
        folder.write("1.csv", "n,m\n" + "".join(f"{n},a\n{n}\n" for n in range(30)))
        folder.write("2.csv", "n,m\n1,a\n")
        assert stop_and_resume.check(connector, folder.settings(on_bad_row="keep")) > 50

    def test_a_record_without_its_key_is_a_bad_row(self, folder: Folder) -> None:
        folder.write("1.jsonl", '{"id": 1}\n{"id": null}\n{"x": 2, "id": 3}\n')
        sink = folder.sync(pattern="*.jsonl", primary_key="id", on_bad_row="keep")
        assert sorted(row["id"] for row in sink.destination.table("records")) == ["1", "3"]
        assert [row["reason"] for row in sink.destination.table("_bad_rows")] == ["no value in the key column id"]

    def test_a_file_that_changes_while_it_is_read_is_noticed(self, folder: Folder, monkeypatch: Any) -> None:
        path = folder.write("1.csv", "n,t\n" + "".join(f"{n},{'x' * 90}\n" for n in range(30_000)))
        folder.write("2.csv", "n,t\n1,a\n")
        deliver, calls = connector.deliver, []

        def change_once(page: Any) -> None:
            deliver(page)
            calls.append(page)
            if len(calls) == 5:
                path.write_text("n,t\n1,other\n")

        monkeypatch.setattr(connector, "deliver", change_once)
        destination = Destination()
        folder.sync(destination)
        folder.sync(destination)
        row = next(row for row in destination.table("records") if (row["_file"], row["_line"]) == ("1.csv", "2"))
        assert row["t"] == "other"
        assert any(row["_file"] == "2.csv" for row in destination.table("records")), "the other file is delivered"


class TestColumnsThatDiffer:
    def test_a_column_that_came_after_the_sync_began_is_kept_and_told(self, folder: Folder, monkeypatch: Any) -> None:
        folder.write("a.csv", "n\n1\n")
        connector.declared_tables.cache_clear()
        settings = folder.configuration
        schema = connector.schema

        def then_a_file(configuration: dict[str, str]) -> Any:
            tables = schema(configuration)
            folder.write("b.csv", "n,zip\n2,00123\n")
            return tables

        monkeypatch.setattr(connector, "schema", then_a_file)
        sink = sync(connector, settings)
        assert sorted((row["n"], row.get("_undeclared")) for row in sink.destination.table("records")) == [
            ("1", None),
            ("2", '{"zip": "00123"}'),
        ]
        assert any(
            "b.csv has fields that records had no column for when this sync began, such as 'zip'" in warning
            for warning in sink.warnings
        )

    def test_names_that_become_one_in_a_destination_lose_nothing(self, folder: Folder) -> None:
        folder.write("a.csv", "a b,a__b,1st,_1st,数量,名前\n1,2,3,4,5,6\n")
        folder.write("b.jsonl", '{"k": 1, "数量": "7", "Größe": 8, "gro_e": 9}\n')
        sink = folder.sync(pattern="*.*")
        first, second = rows(sink)
        assert [first[name] for name in ("a_b", "a__b_2", "1st", "_1st_2", "column_5", "column_6")] == list("123456")
        assert (second["größe"], json.loads(second["_undeclared"])) == ("8", {"数量": "7", "gro_e": 9})
        assert any("had no column for when this sync began" in warning for warning in sink.warnings)

    def test_a_field_that_comes_late_in_a_file_of_json_is_kept_and_told(self, folder: Folder) -> None:
        lines = ['{"n": 1}'] * 150_000 + ['{"n": 2, "zip": "00123"}']
        folder.write("a.jsonl", "\n".join(lines))
        sink = folder.sync(pattern="*.jsonl", page_bytes="1000000")
        row = next(row for row in sink.destination.table("records") if row["n"] == "2")
        assert row["_undeclared"] == '{"zip": "00123"}'
        assert any("a.jsonl has fields that records had no column for" in warning for warning in sink.warnings)

    def test_new_columns_appear_and_missing_ones_are_null(self, folder: Folder) -> None:
        folder.write("a.csv", "n,old\n1,x\n")
        destination = Destination()
        folder.sync(destination)
        folder.write("b.csv", "n,new\n2,y\n")
        folder.sync(destination)
        first, second = rows(folder.sync(destination))
        assert (first.get("new"), second.get("old"), second["new"]) == (None, None, "y")

    def test_types_are_declared_by_column(self, folder: Folder) -> None:
        folder.write("a.csv", "id,amount,day,text\n1,12.50,2026-01-31,00123\n2,,,NA\n")
        settings = "records.id = LONG; records.amount = DECIMAL(15,2); records.day = NAIVE_DATE"
        (table, *_) = connector.schema(folder.settings(columns=settings))
        assert (table["columns"]["id"], table["columns"]["text"]) == ("LONG", "STRING")
        first, second = rows(folder.sync(columns=settings))
        assert (first["id"], first["amount"], first["day"], first["text"]) == ("1", "12.50", "2026-01-31", "00123")
        assert (second["amount"], second["day"], second["text"]) == (None, None, "NA")

    def test_types_are_inferred_from_the_whole_first_file_and_then_fixed(self, folder: Folder) -> None:
        folder.write("a.csv", "id,zip,mixed\n" + "1,00123,1\n" * 3000 + "2,00124,x\n")
        (table,) = connector.schema(folder.settings(infer_types="true"))
        assert [table["columns"][name] for name in ("id", "zip", "mixed")] == ["LONG", "STRING", "STRING"]
        destination = Destination()
        folder.sync(destination, infer_types="true")
        time.sleep(0.02)
        folder.write("b.csv", "id,zip,mixed\nx,1,1\n")
        with pytest.raises(SourceError, match="b.csv, line 2: "):
            folder.sync(destination, infer_types="true")
        (folder.path / "a.csv").unlink()
        with pytest.raises(
            SourceError, match="types are inferred, is another than at first: id was LONG and is STRING"
        ):
            folder.sync(destination, infer_types="true")

    def test_modified_is_the_time_that_the_file_shows(self, folder: Folder) -> None:
        os.utime(folder.write("a.csv", "n\n1\n"), ns=(0, 1_700_000_000_123_456_000))
        (row,) = rows(folder.sync())
        assert row["_modified"] == "2023-11-14T22:13:20.123456Z"

    def test_a_table_for_each_pattern(self, folder: Folder) -> None:
        folder.write("a/1.csv", "n\n1\n")
        folder.write("b/1.csv", "id,m\n2,x\n")
        folder.write("c/1.csv", "n\n3\n")
        sink = sync(
            connector,
            {**folder.configuration, "tables": "one = a/*; two = b/*\none = c/*", "primary_keys": "two = id"},
        )
        assert sorted(row["n"] for row in sink.destination.table("one")) == ["1", "3"]
        assert sink.destination.keys["two"] == ("id",)


class TestRawFiles:
    def test_arrive_whole_beside_the_row_that_names_them(self, folder: Folder) -> None:
        picture = bytes(range(256)) * 20_000
        folder.write("a/picture.png", picture)
        folder.write("b.pdf", b"")
        settings = folder.settings("**/*", format="raw")
        sink = sync(connector, settings)
        assert sink.files == {("records", "a/picture.png"): picture, ("records", "b.pdf"): b""}
        found = {row["_file"]: row["_size"] for row in sink.destination.table("records")}
        assert found == {"a/picture.png": str(len(picture)), "b.pdf": "0"}
        assert sync(connector, settings, sink.destination).upserts == {}

    def test_stopped_at_any_operation(self, folder: Folder) -> None:
        for number in range(4):
            folder.write(f"{number}.bin", bytes(1000))
        assert stop_and_resume.check(connector, folder.settings("*.bin", format="raw")) > 10


class TestStopAndResume:
    def fill(self, folder: Folder) -> None:
        for number in range(3):
            lines = [f'{line},"{"x" * (line % 90)}\n{line}"' for line in range(400)]
            folder.write(f"{number}.csv", "\ufeffn,text\r\n" + "\r\n".join(lines))
            time.sleep(0.02)

    def test_stopped_at_any_operation_it_ends_as_if_nothing_had_happened(self, folder: Folder) -> None:
        self.fill(folder)
        assert stop_and_resume.check(connector, folder.configuration) > 100

    def test_goes_on_inside_the_file(self, folder: Folder) -> None:
        self.fill(folder)
        whole = folder.sync()
        killed = sync(connector, folder.configuration, stop_at=whole.operations - 5)
        resumed = folder.sync(killed.destination)
        assert killed.destination.contents() == whole.destination.contents()
        assert resumed.upserts["records"] < 400

    def test_dying_again_and_again_still_ends(self, folder: Folder) -> None:
        self.fill(folder)
        assert stop_and_resume.check_dying_again_and_again(connector, folder.configuration, operations=250) > 3

    def test_a_file_replaced_while_it_was_open_is_read_from_its_start(self, folder: Folder) -> None:
        self.fill(folder)
        killed = sync(connector, folder.configuration, stop_at=300)
        folder.write("0.csv", "n,text\n1,other\n")
        folder.sync(killed.destination)
        row = next(row for row in killed.destination.table("records") if (row["_file"], row["_line"]) == ("0.csv", "2"))
        assert row["text"] == "other"


class TestBadInput:
    def told(self, folder: Folder, content: str | bytes) -> str:
        folder.write("a.csv", "n,m\n1,2\n")
        time.sleep(0.02)
        folder.write("bad.csv", content)
        destination = Destination()
        with pytest.raises(SourceError) as error:
            folder.sync(destination)
        assert "a.csv" in {row["_file"] for row in destination.table("records")}, "what came before is delivered"
        upto = destination.committed["streams"]["records"]["upto"]
        assert upto[1] == "a.csv", "the state is before the bad file"
        return str(error.value)

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            ("n,m\n1,2\n1,2,3\n", "bad.csv, line 3: 3 fields where the header has 2: correct the line, or quote"),
            ("n,m\n1\n", "bad.csv, line 2: 1 fields where the header has 2"),
            ('n,m\n1,"open\n2,3\n', "bad.csv, line 2: a quote is not closed: close it"),
            ('n,m\n1,"a"b\n', "bad.csv, line 2: "),
            (b"n,m\n1,\xff\n", "bad.csv, line 2: holds bytes that are no text in utf-8: save the file as UTF-8"),
            (b"n,m\n1,a\0b\n", "bad.csv, line 2: holds a NUL character"),
            ("n,m\r1,2\r", "bad.csv cannot be read, line 1: a carriage return stands alone"),
        ],
    )
    def test_one_sentence_with_file_line_and_reason(self, folder: Folder, content: str | bytes, sentence: str) -> None:
        # A header that cannot be read is told by schema() already, before anything is delivered.
        if "line 1" in sentence:
            folder.write("bad.csv", content)
            with pytest.raises(SourceError, match=sentence):
                folder.sync()
        else:
            assert self.told(folder, content).startswith(sentence)

    def test_a_missing_folder_is_named(self, folder: Folder) -> None:
        with pytest.raises(SourceError, match="the setting location names '/no/such', and /no/such is not a folder"):
            folder.sync(location="/no/such")

    def test_a_folder_without_files_is_a_warning(self, folder: Folder) -> None:
        assert any("matches *.csv: nothing to sync" in warning for warning in folder.sync().warnings)

    def test_a_declared_column_that_no_file_has_is_told(self, folder: Folder) -> None:
        folder.write("a.csv", "n\n1\n")
        sink = folder.sync(columns="records.m = LONG")
        assert any("declares m for records, which no file has" in warning for warning in sink.warnings)

    def test_a_key_column_that_is_missing_is_named(self, folder: Folder) -> None:
        folder.write("a.csv", "n\n1\n")
        with pytest.raises(
            SourceError, match="primary_keys names 'order_id' for records, which a.csv does not have: its columns are n"
        ):
            folder.sync(primary_key="order_id")

    def test_a_folder_that_may_not_be_read_is_named(self, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.write("closed/a.csv", "n\n1\n")
        scan = os.scandir

        def refuse(path: Any) -> Any:
            if str(path).endswith("closed"):
                raise PermissionError(13, "Permission denied", str(path))
            return scan(path)

        monkeypatch.setattr(os, "scandir", refuse)  # root, who runs some tests, may read everything
        with pytest.raises(SourceError, match="the folder .*closed cannot be read: Permission denied"):
            folder.sync(pattern="*/*.csv")

    def test_a_link_to_a_folder_is_not_followed_and_told(self, folder: Folder) -> None:
        folder.write("real/a.csv", "n\n1\n")
        (folder.path / "link").symlink_to(folder.path / "real")
        sink = folder.sync(pattern="**/*.csv")
        assert sink.upserts == {"records": 1}
        assert any("link is a link to a folder, which is not followed" in warning for warning in sink.warnings)

    def test_a_state_of_something_else_is_refused(self, folder: Folder) -> None:
        folder.write("a.csv", "n\n1\n")
        for state in ({"version": 1}, {"version": 1, "streams": {"records": {"at": 1}}}):
            with pytest.raises(SourceError, match="reset the connection"):
                sync(connector, folder.configuration, state=state)

    def test_a_link_that_leads_out_of_the_folder_is_refused(self, folder: Folder, tmp_path_factory: Any) -> None:
        outside = tmp_path_factory.mktemp("outside") / "secret.csv"
        outside.write_text("n\n1\n")
        (folder.path / "a.csv").symlink_to(outside)
        with pytest.raises(SourceError, match="is a link to a file outside of the setting location"):
            folder.sync()

    def test_wrong_settings_are_told_at_once(self) -> None:
        with pytest.raises(ConfigurationError) as told:
            connector.schema({"tables": "records", "delimiter": ";;", "page_bytes": "1", "encoding": "klingon"})
        assert len(str(told.value).splitlines()) == 6  # those four, and the location that is missing

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"tables": "a = ../*.csv"}, "'../*.csv' leads out of the location"),
            ({"tables": "a = /etc/*"}, "'/etc/*' leads out of the location"),
            ({"tables": "A B = *; a_b = *"}, "two names become one"),
            ({"tables": "_bad_rows = *"}, "two names become one, or _bad_rows"),
            ({"primary_keys": "b = id"}, "primary_keys: 'b' is no table"),
            ({"columns": "b.id = LONG"}, "expected TABLE.COLUMN = TYPE, the tables being a, found 'b.id'"),
            ({"columns": "a.id = NUMBER"}, "'NUMBER' is no type"),
            ({"columns": "a.id = DECIMAL(50, 2)"}, "is no DECIMAL"),
            ({"location": "ftp://host/x"}, "expected a folder, s3://BUCKET/PREFIX"),
            ({"location": "http://host.example/x", "tables": "a = b.csv"}, "http:// sends everything readable"),
            ({"location": "https://host.example/x"}, "a web server does not list its files"),
        ],
    )
    def test_settings_that_make_no_sense_are_told(self, settings: dict[str, str], sentence: str) -> None:
        with pytest.raises(ConfigurationError) as told:
            connector.schema({"location": "sample", "tables": "a = *.csv", **settings})
        assert sentence in str(told.value)


class TestSetupForm:
    def run(self, configuration: dict[str, str]) -> list[Any]:
        return [test(configuration) for test in (connector.find_test, connector.read_test)]

    def test_lists_finds_and_reads(self, folder: Folder) -> None:
        folder.write("a.csv", "n\n")
        assert all(result.success for result in self.run(folder.configuration))

    def test_reads_rows_as_the_sync_would(self, folder: Folder) -> None:
        folder.write("a.csv", "n,m\n1,180,5\n")
        _, read = self.run(folder.configuration)
        assert "a.csv, line 2: 3 fields" in read.failure
        folder.write("a.csv", "n,m\nx,y\n")
        _, read = self.run(folder.settings(columns="records.n = LONG"))
        assert "a.csv, line 2: column n" in read.failure
        _, read = self.run(folder.settings(primary_key="id"))
        assert "primary_keys names 'id'" in read.failure

    def test_says_what_is_wrong(self, folder: Folder) -> None:
        found, _ = self.run(folder.configuration)
        assert "matches *.csv" in found.failure
        listed, _ = self.run({**folder.configuration, "location": "/no/such"})
        assert "is not a folder" in listed.failure
        folder.write("a.csv", b"n\xff\n1\n")
        _, read = self.run(folder.configuration)
        assert "a.csv" in read.failure
