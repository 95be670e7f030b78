"""connectors/files on real folders of CSV files."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from shared import checkpoints
from shared.errors import ConfigurationError, SourceError
from tests import stop_and_resume
from tests.loading import CONNECTORS, load_connector, load_module
from tests.recording import Destination, Sink, sync

connector = load_connector("files")
listing = connector.read_pages.__globals__["settled_files"].__globals__


@pytest.fixture(autouse=True)
def _every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", 0)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Files of a test are taken at once, except where the test is about that."""
    if "settling" not in request.keywords:
        monkeypatch.setitem(listing, "SETTLING_SECONDS", 0.0)


class Folder:
    """A folder of a test's own, and the connector's configuration for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.configuration = {"folder": str(path), "page_bytes": "10000"}

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def sync(self, destination: Destination | None = None, **settings: str) -> Sink:
        return sync(connector, {**self.configuration, **settings}, destination)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def rows(sink: Sink) -> list[dict[str, Any]]:
    return sorted(sink.destination.table("records"), key=lambda row: (row["_file"], int(row["_line"])))


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
            "column_3": "STRING", "order_id_2": "STRING",
        }  # fmt: skip

    def test_header_names_that_look_alike_keep_their_columns_apart(self) -> None:
        names = load_module("files", "csv_file").column_names(
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
        sink = sync(connector, {"folder": "sample", "table": "stations"})
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
        folder.write("a.csv", "n\n1\n2\n3\n")
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
        folder.sync(destination, folder=str(current))
        current.unlink()
        current.symlink_to(folder.path / "one")
        folder.sync(destination, folder=str(current))
        assert [row["n"] for row in destination.table("records")] == ["one"]

    def test_a_removed_file_makes_nothing_else_be_read_but_its_neighbours(self, folder: Folder) -> None:
        for number in range(40):
            folder.write(f"{number}.csv", "n\n1\n")
        destination = Destination()
        folder.sync(destination)
        (folder.path / "7.csv").unlink()
        assert folder.sync(destination).upserts.get("records", 0) <= 2
        assert folder.sync(destination).upserts == {}

    def test_a_neighbour_that_is_read_again_overwrites_nothing_newer(self, folder: Folder) -> None:
        group_of = connector.read_pages.__globals__["group_of"]
        listed = connector.list_files.__globals__["ListedFile"]
        names = [f"{number}.csv" for number in range(2000)]
        first = names[0]
        other = next(
            name for name in names[1:] if group_of(listed(0, name, 0, Path())) == group_of(listed(0, first, 0, Path()))
        )
        for name, value in ((first, "old"), (other, "x"), ("new.csv", "new")):
            folder.write(name, f"id,v\n{'2' if value == 'x' else '1'},{value}\n")
            time.sleep(0.02)
        destination = Destination()
        folder.sync(destination, primary_key="id")
        (folder.path / other).unlink()
        folder.sync(destination, primary_key="id")
        assert {row["id"]: row["v"] for row in destination.table("records")} == {"1": "new", "2": "x"}

    def test_a_file_that_comes_before_the_interrupted_one_overwrites_nothing_newer(
        self, folder: Folder, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        elsewhere = Folder(tmp_path_factory.mktemp("elsewhere"))
        elsewhere.write("old/x.csv", "id,v\n1,oldest\n")
        time.sleep(0.02)
        folder.write("c.csv", "id,v\n1,newest\n" + "".join(f"{n},{'x' * 50}\n" for n in range(2, 900)))
        settings = {**folder.configuration, "pattern": "**/*.csv", "primary_key": "id"}
        killed = sync(connector, settings, stop_at=700)
        assert "open" in killed.destination.committed["streams"]["records"]
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
        settings = {**folder.configuration, "pattern": "**/*.csv"}
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
        assert [row["_file"] for row in destination.table("records")] == ["a.csv"], "what came before is delivered"
        assert "open" not in destination.committed["streams"]["records"], "the state is before the bad file"
        return str(error.value)

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            ("n,m\n1,2\n1,2,3\n", "bad.csv, line 3: 3 fields where the header has 2: correct the line, or quote"),
            ("n,m\n1\n", "bad.csv, line 2: 1 fields where the header has 2"),
            ('n,m\n1,"open\n2,3\n', "bad.csv, line 2: unexpected end of data: is a quote not closed"),
            ('n,m\n1,"a"b\n', "bad.csv, line 2: "),
            (b"n,m\n1,\xff\n", "bad.csv, line 2: byte 3 is not UTF-8: save the file as UTF-8"),
            (b"n,m\n1,a\0b\n", "bad.csv, line 2: holds a NUL byte"),
            ("n,m\r1,2\r", "bad.csv, line 1: a carriage return stands alone"),
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
        with pytest.raises(SourceError, match="the setting folder names '/no/such', and /no/such is not a folder"):
            folder.sync(folder="/no/such")

    def test_a_folder_without_files_is_a_warning(self, folder: Folder) -> None:
        assert any("matches *.csv: nothing to sync" in warning for warning in folder.sync().warnings)

    def test_a_key_column_that_is_missing_is_named(self, folder: Folder) -> None:
        folder.write("a.csv", "n\n1\n")
        with pytest.raises(
            SourceError, match="primary_key names 'order_id', which a.csv does not have: its columns are n"
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
        with pytest.raises(SourceError, match="is a link to a file outside of the setting folder"):
            folder.sync()

    def test_wrong_settings_are_told_at_once(self) -> None:
        with pytest.raises(ConfigurationError) as told:
            connector.schema({"pattern": "../*.csv", "delimiter": ";;", "page_bytes": "1"})
        assert len(str(told.value).splitlines()) == 5

    def test_a_line_longer_than_any_record_is_told(self, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(connector.CsvFile.batches.__globals__, "LONGEST_LINE", 1000)
        folder.write("a.csv", "n\n" + "x" * 2000)
        with pytest.raises(SourceError, match="line 2: is longer than 1,000 bytes: is it a CSV file"):
            folder.sync()


class TestSetupForm:
    def test_finds_files_and_reads_a_header(self, folder: Folder) -> None:
        folder.write("a.csv", "n\n")
        assert connector.files_test(folder.configuration).success

    def test_says_what_is_wrong(self, folder: Folder) -> None:
        assert "matches *.csv" in connector.files_test(folder.configuration).failure
