"""Parquet files arrive exactly, from any row on, in memory that neither row groups nor values make grow."""

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.memory_profiling import resident_bytes
from tests.loading import load_module

parquet_format = load_module("files", "parquet_format")
ParquetReader, Target, FileProblem = parquet_format.ParquetReader, parquet_format.Target, parquet_format.FileProblem
File, Settings = parquet_format.File, parquet_format.Settings
SETTINGS = Settings.parse({"location": "sample", "tables": "t = *.parquet"})
UNDECLARED = {"_undeclared": "JSON"}


class Counted:
    """A content in memory that keeps which ranges of it were read."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.file = File("t.parquet", len(data) if size is None else size, 0, 1_769_860_800_000_000_000)
        self._data = data
        self.reads: list[tuple[int, int]] = []
        self.failure: Exception | None = None

    def chunks(self, start: int = 0) -> Iterator[bytes]:
        yield self._data[start:]

    def read(self, start: int, length: int) -> bytes:
        self.reads.append((start, length))
        if self.failure and start < len(self._data) // 2:
            raise self.failure
        return self._data[start : start + length]


def written(table: pa.Table | dict[str, Any], **options: Any) -> bytes:
    """A Parquet file of a table, as bytes."""
    file = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), file, **options)
    return file.getvalue()


WITH_FOOTER = written({"a": list(range(50)), "b": [[str(n)] for n in range(50)]}, row_group_size=20)
FOOTER = WITH_FOOTER[-8 - int.from_bytes(WITH_FOOTER[-8:-4], "little") : -8]


INT96_FILE = written({"t": [datetime(2026, 1, 1)]}, use_deprecated_int96_timestamps=True, store_schema=False)
INT96_FOOTER = INT96_FILE[-8 - int.from_bytes(INT96_FILE[-8:-4], "little") : -8]


def reader(data: bytes) -> Any:
    content = Counted(data)
    return ParquetReader(content, content.file, SETTINGS)


def read(
    data: bytes, target: dict[str, Any] | None = None, place: Any = None
) -> tuple[list[dict[str, Any]], list[Any]]:
    """All records and all bad rows from a place on; without a target, in the columns of the file's own types."""
    opened = reader(data)
    columns = opened.columns if target is None else target
    records: list[dict[str, Any]] = []
    bad: list[Any] = []
    for batch in opened.batches(Target({**columns, **UNDECLARED}), place):
        records += batch.records
        bad += batch.bad
    return records, bad


def column(values: Any, type_: Any = None, target: Any = None, **options: Any) -> tuple[Any, list[Any], list[str]]:
    """The type of a file's one column, its values as they arrive, and what is said of bad rows."""
    data = written(pa.table({"a": values if isinstance(values, pa.Array) else pa.array(values, type_)}), **options)
    records, bad = read(data, None if target is None else {"a": target})
    return reader(data).columns["a"], [record["a"] for record in records], [row.reason for row in bad]


def decimal(precision: int, scale: int) -> dict[str, Any]:
    return {"type": "DECIMAL", "precision": precision, "scale": scale}


EPOCH = "1970-01-01T00:00:00"
JULIAN_1970 = bytes(8) + (2_440_588).to_bytes(4, "little")
NANO = {"t": "00:00:00.000000001"}
PAIRS = [{"key": "a", "value": 1}, {"key": "a", "value": 2}]
BERLIN = timezone(timedelta(hours=2))


class TestEveryTypeArrivesExactly:
    @pytest.mark.parametrize(
        ("type_", "values", "expected", "arrived"),
        [
            (pa.bool_(), [True, False, None], "BOOLEAN", None),
            (pa.int8(), [-128, 127, None], "SHORT", None),
            (pa.uint8(), [255], "SHORT", None),
            (pa.int16(), [-(2**15)], "SHORT", None),
            (pa.uint16(), [2**16 - 1], "INT", None),
            (pa.int32(), [-(2**31)], "INT", None),
            (pa.uint32(), [2**32 - 1], "LONG", None),
            (pa.int64(), [-(2**63), 2**63 - 1, None], "LONG", None),
            (pa.uint64(), [2**64 - 1, 0, None], decimal(20, 0), ["18446744073709551615", "0", None]),
            (pa.float16(), [1.5, None], "DOUBLE", None),
            (pa.float32(), [0.10000000149011612], "DOUBLE", None),
            (pa.float64(), [0.1, 5e-324, 1.7976931348623157e308, None], "DOUBLE", None),
            (pa.decimal128(5, 2), [Decimal("1.20"), Decimal("-999.99")], decimal(5, 2), ["1.20", "-999.99"]),
            (pa.decimal128(38, 0), [Decimal("1" * 38)], decimal(38, 0), ["1" * 38]),
            (pa.decimal256(76, 2), [Decimal("1" * 40 + ".25"), None], "STRING", ["1" * 40 + ".25", None]),
            (pa.string(), ["00123", "", "NA", "ü😀", None], "STRING", None),
            (pa.large_string(), ["a", None], "STRING", None),
            (pa.string_view(), ["a", "x" * 100, None], "STRING", None),
            (pa.binary(), [b"\xff\0", b"", None], "BINARY", None),
            (pa.large_binary(), [b"a"], "BINARY", None),
            (pa.binary_view(), [b"a" * 20], "BINARY", None),
            (pa.binary(4), [b"\0\1\2\3", None], "BINARY", None),
            (pa.date32(), [date(1, 1, 1), date(9999, 12, 31), None], "NAIVE_DATE", None),
            (pa.date64(), [date(2026, 1, 31)], "NAIVE_DATE", None),
            (pa.timestamp("s"), [datetime(1, 1, 1), None], "NAIVE_DATETIME", None),
            (pa.timestamp("ms"), [datetime(9999, 12, 31, 23, 59, 59, 999_000)], "NAIVE_DATETIME", None),
            (pa.timestamp("us"), [datetime(2026, 1, 31, 1, 2, 3, 456_789)], "NAIVE_DATETIME", None),
            (pa.timestamp("ns"), [datetime(2026, 1, 31, 1, 2, 3, 456_789)], "NAIVE_DATETIME", None),
            (pa.timestamp("us", "UTC"), [datetime(2026, 1, 31, tzinfo=UTC), None], "UTC_DATETIME", None),
            (pa.timestamp("ms", "+02:00"), [datetime(2026, 1, 31, tzinfo=BERLIN)], "UTC_DATETIME", None),
            (
                pa.timestamp("ns", "Europe/Berlin"),
                [datetime(1, 1, 1, tzinfo=UTC).replace(year=1900)],
                "UTC_DATETIME",
                None,
            ),
            (pa.time32("s"), [3723], "STRING", ["01:02:03"]),
            (pa.time64("us"), [3_723_000_001], "STRING", ["01:02:03.000001"]),
            (pa.time64("ns"), [1, None], "STRING", ["00:00:00.000000001", None]),
            (pa.duration("ns"), [1_500_000_001], "STRING", ["PT1.500000001S"]),
            (pa.null(), [None], "STRING", [None]),
        ],
        ids=str,
    )
    def test_type_and_value(self, type_: Any, values: list[Any], expected: Any, arrived: list[Any] | None) -> None:
        assert column(values, type_) == (expected, values if arrived is None else arrived, [])
        dictionary = pa.array(values, type_)
        if pa.types.is_string(type_) or pa.types.is_integer(type_) or pa.types.is_decimal128(type_):
            encoded = dictionary.dictionary_encode()
            assert column(encoded) == (expected, values if arrived is None else arrived, [])

    @pytest.mark.parametrize(
        ("type_", "value", "arrived"),
        [
            (pa.list_(pa.int64()), [1, None], [1, None]),
            (pa.list_(pa.int64()), [], []),
            (pa.list_(pa.int32(), 2), [1, 2], [1, 2]),
            (pa.large_list(pa.string()), ["a", "ü"], ["a", "ü"]),
            (pa.struct({"a": pa.decimal128(5, 2)}), {"a": Decimal("1.10")}, {"a": "1.10"}),
            (pa.struct({"a": pa.decimal256(50, 2)}), {"a": Decimal("1" * 45 + ".50")}, {"a": "1" * 45 + ".50"}),
            (pa.list_(pa.timestamp("ns")), [1], ["1970-01-01T00:00:00.000000001"]),
            (pa.list_(pa.timestamp("us", "UTC")), [1], ["1970-01-01T00:00:00.000001Z"]),
            (pa.list_(pa.date32()), [date(2026, 1, 31)], ["2026-01-31"]),
            (pa.list_(pa.float64()), [0.1, float("nan"), float("-inf")], [0.1, "NaN", "-inf"]),
            (pa.list_(pa.uint64()), [2**64 - 1], [2**64 - 1]),
            (pa.list_(pa.binary()), [b"\xff"], ["/w=="]),
            (pa.map_(pa.string(), pa.int64()), [("a", 1), ("b", None)], {"a": 1, "b": None}),
            (pa.map_(pa.string(), pa.int64()), [], {}),
            (pa.map_(pa.string(), pa.int8()), [("a", 1), ("a", 2)], PAIRS),
            (pa.map_(pa.int64(), pa.timestamp("ns")), [(7, 1)], {"7": "1970-01-01T00:00:00.000000001"}),
            (pa.map_(pa.string(), pa.list_(pa.struct({"t": pa.time64("ns")}))), [("a", [{"t": 1}])], {"a": [NANO]}),
            (pa.map_(pa.string(), pa.decimal256(50, 1)), [("a", Decimal("1" * 45 + ".0"))], {"a": "1" * 45 + ".0"}),
            (pa.list_(pa.map_(pa.string(), pa.decimal128(3, 1))), [[("a", Decimal("1.0"))]], [{"a": "1.0"}]),
        ],
        ids=str,
    )  # fmt: skip
    def test_nested_values_are_json(self, type_: Any, value: Any, arrived: Any) -> None:
        assert column([value, None], type_) == ("JSON", [arrived, None], [])
        as_text = column([value, None], type_, target="STRING")[1]
        assert (json.loads(as_text[0]), as_text[1]) == (arrived, None)
        (record, _), bad = read(written(pa.table({"a": pa.array([value, None], type_)})), {})
        assert (record["_undeclared"], bad) == ({"a": arrived}, [])

    def test_text_that_is_marked_as_json_is_text(self) -> None:
        values = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a": 1.10}', None, "a\0b"]))
        assert column(values)[:2] == ("STRING", ['{"a": 1.10}', None])
        assert column(values.slice(0, 2), target="JSON")[1] == [{"a": 1.1}, None]
        assert read(written({"a": values.slice(0, 1)}), {})[0][0]["_undeclared"] == {"a": '{"a": 1.10}'}


class TestWhatATypeCannotHoldIsABadRowAndTextOnDemand:
    @pytest.mark.parametrize(
        ("type_", "values", "reason", "texts"),
        [
            (pa.float64(), [1.5, float("nan"), float("inf")], "is NaN or infinite", ["1.5", "NaN", "inf"]),
            (pa.timestamp("ns"), [1_000, 1], "finer than a microsecond", [f"{EPOCH}.000001", f"{EPOCH}.000000001"]),
            (pa.timestamp("us"), [0, 2**62], "beyond the years", [EPOCH, "+148108-07-06T14:00:27.387904"]),
            (pa.timestamp("s", "UTC"), [0, -(2**40)], "beyond the years", [f"{EPOCH}Z", "-32873-11-12T23:23:44Z"]),
            (pa.date32(), [0, 2**23], "beyond the years", ["1970-01-01", "+24937-03-25"]),
        ],
        ids=str,
    )  # fmt: skip
    def test_the_row_is_named_and_the_others_arrive(
        self, type_: Any, values: list[Any], reason: str, texts: list[str]
    ) -> None:
        _, arrived, reasons = column(values, type_)
        assert (len(arrived), len(reasons)) == (1, len(values) - 1)
        assert reasons[0].startswith("column a: ")
        assert reason in reasons[0]
        assert "STRING" in reasons[0]
        assert column(values, type_, target="STRING")[1:] == (texts, [])

    def test_text_that_no_destination_keeps(self) -> None:
        for values in (["a\0b", "c"], [["a\0b"], ["c"]]):
            _, arrived, reasons = column(values)
            assert arrived == values[1:]
            assert "NUL" in reasons[0]
        records, bad = read(written({"a": ["x", "a\0b"]}))
        assert (bad[0].line, json.loads(bad[0].raw)) == (2, {"a": "a\0b"})
        assert [record["_line"] for record in records] == [1]

    def test_times_that_none_can_show(self) -> None:
        _, arrived, reasons = column([0, 2**62], pa.timestamp("ms"), target="STRING")
        assert arrived == ["1970-01-01T00:00:00"]
        assert "beyond what its type can show" in reasons[0]

    def test_a_long_row_is_cut_where_it_is_shown(self) -> None:
        _, bad = read(written({"a": [float("nan")], "b": ["x" * 100_000]}))
        assert len(bad[0].raw) == 10_000


class TestTimesOfTwelveBytes:
    """As Spark and Hive wrote them: INT96, without Arrow's types in the footer."""

    def int96(self, values: list[Any], **options: Any) -> bytes:
        table = pa.table({"n": [1] * len(values), "t": pa.array(values, pa.timestamp("ns"))})
        return written(table, use_deprecated_int96_timestamps=True, store_schema=False, **options)

    @pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"row_group_size": 1, "compression": "zstd"}])
    def test_arrive_exactly(self, options: dict[str, Any]) -> None:
        data = self.int96([0, 1_000, None, -1_000, 1_769_860_800_123_456_000], **options)
        records, bad = read(data)
        assert bad == []
        assert [record["t"] for record in records] == [
            datetime(1970, 1, 1), datetime(1970, 1, 1, 0, 0, 0, 1), None,
            datetime(1969, 12, 31, 23, 59, 59, 999_999), datetime(2026, 1, 31, 12, 0, 0, 123_456),
        ]  # fmt: skip
        assert reader(data).columns == {"n": "LONG", "t": "NAIVE_DATETIME"}

    def test_in_years_that_nanoseconds_since_1970_do_not_reach(self) -> None:
        data = self.int96([0], use_dictionary=False, compression="none")
        assert data.count(JULIAN_1970) >= 1
        for day, year in [(5_373_484, 9999), (1_721_426, 1)]:
            moved = data.replace(JULIAN_1970, bytes(8) + day.to_bytes(4, "little"))
            assert read(moved)[0][0]["t"].year == year
            assert read(moved, {"t": "STRING"})[0][0]["t"][:5] == f"{year:04}-"
        _, bad = read(data.replace(JULIAN_1970, bytes(8) + (5_373_485).to_bytes(4, "little")))
        assert "beyond the years" in bad[0].reason

    def test_nanoseconds_are_a_bad_row_and_text_on_demand(self) -> None:
        data = self.int96([1_001, 1_000])
        records, bad = read(data)
        assert ([record["_line"] for record in records], bad[0].reason[:30]) == ([2], "column t: is finer than a micr")
        assert [record["t"] for record in read(data, {"t": "STRING"})[0]] == [f"{EPOCH}.000001001", f"{EPOCH}.000001"]
        assert read(data, {})[0][0]["_undeclared"] == {"n": 1, "t": f"{EPOCH}.000001001"}

    @pytest.mark.parametrize(
        ("type_", "value"),
        [
            (pa.list_(pa.timestamp("us")), [datetime(9999, 12, 31)]),
            (pa.struct({"t": pa.timestamp("us")}), {"t": datetime(1000, 1, 1)}),
            (pa.list_(pa.struct({"t": pa.timestamp("us")})), [{"t": datetime(2026, 1, 1)}]),
        ],
        ids=str,
    )
    def test_inside_lists_and_structs_are_refused_where_they_would_be_other_times(self, type_: Any, value: Any) -> None:
        table = pa.table({"n": [1], "c": pa.array([value], type_), "t": pa.array([0], pa.timestamp("us"))})
        said = "column c has timestamps of 12 bytes .INT96. inside lists or structs, which cannot be read exactly"
        with pytest.raises(FileProblem, match=said):
            reader(written(table, use_deprecated_int96_timestamps=True, store_schema=False))
        (record,), bad = read(written(table, use_deprecated_int96_timestamps=True))
        assert (bad, record["t"]) == ([], datetime(1970, 1, 1))
        assert json.dumps(value, default=lambda moment: moment.isoformat()) == json.dumps(record["c"])

    def test_arrive_exactly_where_the_types_that_were_noted_cannot_be_read(self) -> None:
        data = written(
            {"t": pa.array([datetime(9999, 12, 31)], pa.timestamp("us"))}, use_deprecated_int96_timestamps=True
        )
        start = data.rindex(b"ARROW:schema") + 20
        (record,), bad = read(data[:start] + b"!" * 40 + data[start + 40 :])
        assert (record["t"], bad) == (datetime(9999, 12, 31), [])

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3))
    def test_a_footer_with_whatever_bytes_damaged_is_read_or_refused(self, damages: list[tuple[int, int]]) -> None:
        footer = bytearray(INT96_FOOTER)
        for place, byte in damages:
            footer[place % len(footer)] = byte
        with suppress(parquet_format.FooterProblem):
            parquet_format.Footer(bytes(footer)).with_int96_as_bytes()


class TestDeclaredTypes:
    @pytest.mark.parametrize(
        ("type_", "values", "target", "arrived"),
        [
            (pa.int32(), [1, None], "LONG", [1, None]),
            (pa.int64(), [1], decimal(20, 0), ["1"]),
            (pa.float64(), [1.0], "LONG", [1]),
            (pa.decimal128(5, 2), [Decimal("1.00")], "LONG", [1]),
            (pa.decimal128(5, 2), [Decimal("1.25")], decimal(10, 3), ["1.25"]),
            (pa.decimal128(5, 2), [Decimal("1.25")], "DOUBLE", [1.25]),
            (pa.string(), ["1", "", None], "LONG", [1, None, None]),
            (pa.string(), ['{"a": 1}'], "JSON", [{"a": 1}]),
            (pa.string(), ["2026-01-31"], "NAIVE_DATE", [date(2026, 1, 31)]),
            (pa.binary(), ["ü".encode()], "STRING", ["ü"]),
            (pa.bool_(), [True], "STRING", ["true"]),
            (pa.int64(), [1_769_860_800], {"epoch": "s"}, [datetime(2026, 1, 31, 12, tzinfo=UTC)]),
        ],
        ids=str,
    )
    def test_take_values_that_they_hold(self, type_: Any, values: list[Any], target: Any, arrived: list[Any]) -> None:
        assert column(values, type_, target)[1:] == (arrived, [])

    @pytest.mark.parametrize(
        ("type_", "value", "target"),
        [
            (pa.int64(), 2**40, "INT"),
            (pa.float64(), 1.5, "LONG"),
            (pa.string(), "x", "LONG"),
            (pa.binary(), b"\xff", "STRING"),
            (pa.timestamp("us"), 0, "UTC_DATETIME"),
            (pa.int64(), 1, "BOOLEAN"),
        ],
        ids=str,
    )
    def test_refuse_others(self, type_: Any, value: Any, target: Any) -> None:
        _, arrived, reasons = column([value], type_, target)
        assert arrived == []
        assert reasons[0].startswith("column a: ")


class TestColumns:
    def test_names_are_those_of_the_destination_and_no_two_alike(self) -> None:
        table = pa.table([[1], [2], [3], [4]], names=["Order ID", "order_id", "", "_line"])
        (record,), _ = read(written(table))
        assert record == {
            "order_id": 1, "order_id_2": 2, "column_3": 3, "_line_2": 4,
            "_line": 1, "_file": "t.parquet", "_modified": "2026-01-31T12:00:00.000000Z",
        }  # fmt: skip

    def test_a_column_that_is_not_declared_is_kept_under_its_own_name(self) -> None:
        (record,), _ = read(written({"a": [1], "New One": ["x"], "Other": [None]}), {"a": "LONG"})
        assert (record["a"], record["_undeclared"]) == (1, {"New One": "x", "Other": None})

    @pytest.mark.parametrize("names", [["x", "x", "x_2"], ["x", "x_2", "x"], ["", "column_1", "x"]])
    def test_none_that_is_not_declared_vanishes_where_titles_are_there_twice(self, names: list[str]) -> None:
        data = written(pa.table([["one"], ["two"], ["three"]], names=names))
        (record,), _ = read(data, {})
        assert sorted(record["_undeclared"].values()) == ["one", "three", "two"]

    def test_none_vanishes_from_a_bad_row(self) -> None:
        data = written(pa.table([[1], [2], [float("nan")]], names=["x", "x", "x_2"]))
        assert list(json.loads(read(data)[1][0].raw).values()) == [1, 2, "NaN"]

    def test_a_declared_column_that_the_file_lacks_is_not_in_its_records(self) -> None:
        (record,), _ = read(written({"a": [1]}), {"a": "LONG", "b": "LONG"})
        assert "b" not in record


class TestResuming:
    @settings(deadline=None)
    @given(st.integers(0, 40), st.integers(1, 17), st.data())
    def test_from_any_row_the_rest_arrives(self, rows: int, group: int, data: st.DataObject) -> None:
        file = written({"a": list(range(rows))}, row_group_size=group)
        row = data.draw(st.integers(0, rows))
        records, _ = read(file, place={"row": row} if row else None)
        assert [(record["a"], record["_line"]) for record in records] == [(n, n + 1) for n in range(row, rows)]

    def test_from_the_place_of_any_batch_the_rest_arrives(self) -> None:
        file = written({"a": [f"{n:01000}" for n in range(5_000)]}, row_group_size=2_000)
        opened = reader(file)
        target = Target({**opened.columns, **UNDECLARED})
        whole = [(list(batch.records), batch.place) for batch in opened.batches(target)]
        assert len(whole) > 5
        for number, (_, place) in enumerate(whole):
            rest = [record for batch in reader(file).batches(target, place) for record in batch.records]
            assert rest == [record for records, _ in whole[number + 1 :] for record in records]

    def test_row_groups_before_the_place_are_not_read(self) -> None:
        content = Counted(written({"a": [f"{n:0100}" for n in range(200_000)]}, row_group_size=20_000))
        opened = ParquetReader(content, content.file, SETTINGS)
        content.reads.clear()
        for batch in opened.batches(Target(opened.columns), {"row": 190_000}):
            list(batch.records)
        assert len(content.reads) == 1


class TestFewRequests:
    def test_one_for_the_footer_and_one_for_each_row_group(self) -> None:
        content = Counted(
            written({"a": list(range(50_000)), "b": [str(n) for n in range(50_000)]}, row_group_size=1_000)
        )
        opened = ParquetReader(content, content.file, SETTINGS)
        for batch in opened.batches(Target(opened.columns)):
            list(batch.records)
        assert len(content.reads) == 51

    def test_a_large_row_group_comes_in_windows(self) -> None:
        texts = [f"{n * 7919 % 1_000_003:0300}"[::-1] + str(n * n) for n in range(100_000)]
        data = written({"a": texts, "b": texts, "c": list(range(100_000))}, compression="none", use_dictionary=False)
        content = Counted(data)
        opened = ParquetReader(content, content.file, SETTINGS)
        for batch in opened.batches(Target(opened.columns)):
            list(batch.records)
        assert len(data) > 50e6
        assert len(content.reads) < 90
        assert sum(length for _, length in content.reads) < 1.25 * len(data)  # its beginning comes again


class TestMemoryStaysFlat:
    def growth(self, data: bytes) -> int:
        """By how many bytes the memory of the process grows at most while the records of a file are read."""
        opened = reader(data)
        next(iter(opened.batches(Target(opened.columns))))  # what is loaded on first use
        before = highest = resident_bytes()
        for batch in opened.batches(Target(opened.columns)):
            for _ in batch.records:
                pass
            highest = max(highest, resident_bytes())
        return highest - before

    def test_in_one_row_group_of_a_million_rows(self) -> None:
        data = written({name: list(range(1_000_000)) for name in "abcd"}, row_group_size=1_000_000)
        assert self.growth(data) < 40e6

    @pytest.mark.parametrize("kind", ["text", "dictionary", "list"])
    def test_with_a_megabyte_in_every_row(self, kind: str) -> None:
        value = "x" * 1_000_000
        values = {
            "text": pa.array([value] * 300),
            "dictionary": pa.array([value] * 300).dictionary_encode(),
            "list": pa.array([[value]] * 300),
        }[kind]
        assert self.growth(written({"a": values})) < 60e6

    def test_where_rows_become_wide_later(self) -> None:
        values = ["x"] * 3_000 + ["y" * 200_000] * 300
        assert self.growth(written({"a": values}, row_group_size=3_300, use_dictionary=False)) < 60e6


class TestAFileThatIsNoneIsNamed:
    def test_its_name_and_what_is_wrong(self) -> None:
        good = written({"a": list(range(100_000))})
        for data, said in [
            (b"", "is no Parquet file"),
            (b"a,b\n1,2\n", "is no Parquet file"),
            (good[:-100], "is no Parquet file, or was not written to its end: upload it again"),
            (good[-100:], "its footer is longer than the file"),
            (good[:-8] + b"\xff\xff\xff\x7fPAR1", "its footer is longer than the file"),
            (good[:-8] + b"\0\0\0\0PAR1", "its footer"),
            (good[:-4] + b"PARE", "encrypted"),
        ]:
            with pytest.raises(FileProblem, match=f"^t.parquet.*{said}"):
                reader(data)

    def test_a_type_inside_a_map_that_is_not_read(self) -> None:
        values = [[("a", [Decimal("1" * 45)])]]
        data = written({"a": pa.array(values, pa.map_(pa.string(), pa.list_(pa.decimal256(50, 0))))})
        said = "^t.parquet cannot be read as Parquet: a map holds a type that is not read here .*: write it as text$"
        for target in (None, {"a": "STRING"}, {}):
            with pytest.raises(FileProblem, match=said):
                read(data, target)

    @pytest.mark.parametrize(
        "table",
        [
            pa.table({"a\0b": [1]}),
            pa.table({"s": pa.array([{"a\0b": 1}])}),
            pa.table({"s": pa.array([[{"x": {"a\0b": 1}}]])}),
        ],
        ids=["column", "struct", "list"],
    )
    def test_a_nul_in_a_name_does_not_end_the_process(self, table: pa.Table) -> None:
        with pytest.raises(FileProblem, match="^t.parquet .*: column '.*' has a NUL character in a name: rename it"):
            reader(written(table))

    @pytest.mark.parametrize("is_list", [False, True])
    def test_two_fields_of_one_name(self, is_list: bool) -> None:
        twice = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
        values = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), twice) if is_list else twice
        with pytest.raises(FileProblem, match="^t.parquet .*: column s has two fields named a: rename one"):
            reader(written(pa.table([pa.array([1]), values], names=["id", "s"])))

    def test_structs_in_structs_without_end_do_not_end_the_process(self) -> None:
        # Each is a struct of the schema's elements: it is there once, is called a, and has one child.
        deep = b"\x35\x02\x18\x01a\x15\x02\x00" * 5_000
        footer = b"\x29\xfc\x89\x27" + deep + b"\x29\x0c\x00"
        with pytest.raises(FileProblem, match="^t.parquet .*: column a has lists or structs nested too deeply$"):
            reader(b"PAR1" + footer + len(footer).to_bytes(4, "little") + b"PAR1")

    def test_a_column_before_the_beginning_of_the_file_does_not_end_the_process(self) -> None:
        data = written({"a": [1]}, use_dictionary=False)
        pages = b"\x26\x08"  # field 9 of a column, as the second behind field 7: from byte 4 of the file on
        place = data.index(pages)
        with pytest.raises(FileProblem, match="^t.parquet .*: its footer is cut or damaged$"):
            read(data[:place] + b"\x26\x07" + data[place + 2 :])

    def test_bytes_that_are_missing_before_the_footer(self) -> None:
        data = written({"a": list(range(1_000))}, use_dictionary=False, compression="none")
        with pytest.raises(FileProblem, match="^t.parquet .*: its columns are longer than the file"):
            read(data[:2_000] + data[2_001:])

    def test_lists_in_lists_arrive(self) -> None:
        value: Any = 1
        type_ = pa.int64()
        for _ in range(60):
            value, type_ = [value], pa.list_(type_)
        assert read(written({"a": pa.array([value], type_)}))[0][0]["a"] == value

    def test_one_name_in_two_structs_is_none(self) -> None:
        (record,), _ = read(written({"s": [{"a": {"a": 1}, "b": {"a": 2}}], "a": [3]}))
        assert (record["s"], record["a"]) == ({"a": {"a": 1}, "b": {"a": 2}}, 3)

    @pytest.mark.parametrize("target", [None, {}, {"s": "STRING"}])
    def test_a_time_zone_that_is_unknown_inside_a_struct(self, target: Any) -> None:
        data = written({"s": pa.array([{"t": 0}], pa.struct({"t": pa.timestamp("us", "Mars/Base")}))})
        with pytest.raises(FileProblem, match="^t.parquet .*: column s: .*Mars/Base"):
            read(data, target)

    def test_damaged_pages_give_the_rows_before_them(self) -> None:
        good = written({"a": list(range(100_000))}, row_group_size=50_000, use_dictionary=False, compression="snappy")
        middle = len(good) * 3 // 4
        damaged = good[:middle] + b"\xff" * 1000 + good[middle + 1000 :]
        opened = reader(damaged)
        records: list[Any] = []

        def collect() -> None:
            for batch in opened.batches(Target(opened.columns)):
                records.extend(batch.records)

        with pytest.raises(FileProblem, match="^t.parquet cannot be read as Parquet: "):
            collect()
        assert [record["a"] for record in records[:50_000]] == list(range(50_000))

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
    def test_a_footer_with_whatever_bytes_damaged_is_read_or_refused(self, damages: list[tuple[int, int]]) -> None:
        data = bytearray(FOOTER)
        for place, byte in damages:
            data[place % len(data)] = byte
        with suppress(parquet_format.FooterProblem):  # and nothing else, and soon
            footer = parquet_format.Footer(bytes(data))
            for group in footer.row_groups:
                footer.chunks(group)
            footer.with_int96_as_bytes().without_metadata().only(None)

    def test_a_length_that_the_server_does_not_tell(self) -> None:
        content = Counted(written({"a": [1]}), size=-1)
        with pytest.raises(FileProblem, match="the server does not tell its length"):
            ParquetReader(content, content.file, SETTINGS)

    def test_what_the_place_says_of_a_failure_is_what_is_raised(self) -> None:
        content = Counted(written({"a": list(range(100_000))}))
        opened = ParquetReader(content, content.file, SETTINGS)
        content.failure = parquet_format.SourceError("the bucket is gone")
        with pytest.raises(parquet_format.SourceError, match="^the bucket is gone$"):
            list(opened.batches(Target(opened.columns)))

    def test_an_empty_table_has_columns_and_no_rows(self) -> None:
        data = written(pa.table({"a": pa.array([], pa.int64())}))
        assert (dict(reader(data).columns), read(data)) == ({"a": "LONG"}, ([], []))
