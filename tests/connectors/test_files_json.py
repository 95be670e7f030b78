"""JSON files: every value as it is written, or a record that is named as bad."""

import bz2
import gzip
import json
import tracemalloc
import zlib
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.connectors.files_reading import Format, check_resuming
from tests.loading import load_module

json_format = load_module("files", "json_format")
LINES = Format(json_format, json_format.JsonReader, ".jsonl")
JSON = Format(json_format, json_format.JsonReader, ".json")

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
OBJECTS = st.lists(st.fixed_dictionaries({"a": TEXTS, "b": TEXTS | st.none()}), max_size=12)
# A way to write objects as a file, and the settings that read it.
LAYOUTS: list[tuple[str, dict[str, Any]]] = [
    ("lines", {}),
    ("list", {}),
    ("indented list", {}),
    ("sequence", {}),
    ("indented sequence", {}),
    ("path", {"record_path": "result.items"}),
]


def written(objects: list[Any], layout: str) -> bytes:
    indent = 1 if layout.startswith("indented") else None
    if layout == "path":
        return json.dumps({"n": [1], "result": {"x": {}, "items": objects, "next": None}, "m": 2}).encode()
    if layout.endswith("list"):
        return json.dumps(objects, indent=indent, ensure_ascii=False).encode()
    end = "\n" if layout == "lines" else ""
    return "".join(json.dumps(item, indent=indent, ensure_ascii=False) + end for item in objects).encode()


def format_of(layout: str) -> Format:
    return LINES if layout == "lines" else JSON


class TestEveryValueAsItIsWritten:
    @given(OBJECTS, st.sampled_from(LAYOUTS), st.integers(1, 60), st.integers(1, 70))
    def test_any_objects_in_any_layout_at_any_page_size(
        self, objects: list[Any], layout: tuple[str, dict[str, Any]], page_bytes: int, chunk: int
    ) -> None:
        data = written(objects, layout[0])
        result = format_of(layout[0]).read(data, page_bytes=page_bytes, chunk=chunk, **layout[1])
        assert (result.values, result.bad, result.problem) == (objects, [], "")
        assert result.lines == list(range(1, len(objects) + 1))

    @given(OBJECTS, st.sampled_from(LAYOUTS), st.integers(1, 60))
    def test_resumed_at_any_place(
        self, objects: list[Any], layout: tuple[str, dict[str, Any]], page_bytes: int
    ) -> None:
        check_resuming(format_of(layout[0]), written(objects, layout[0]), page_bytes=page_bytes, **layout[1])

    @pytest.mark.parametrize(
        "token",
        ["1.00", "-0", "1e400", "12345678901234567890123", "0.1234567890123456789", "1E5", "true", "false", "9" * 5000],
    )
    def test_numbers_and_booleans_keep_their_digits_as_text(self, token: str) -> None:
        for result in (LINES.read(f'{{"n":{token},"m":[{token}]}}'), JSON.read(f'[{{"n":{token},"m":[{token}]}}]')):
            assert result.values == [{"n": token, "m": f"[{token}]"}]

    def test_nested_values_are_their_json(self) -> None:
        result = LINES.read('{"a": {"x": [1.0, "é\\u0041", null], "y": {}}}\n')
        assert result.values == [{"a": '{"x": [1.0, "éA", null], "y": {}}'}]
        types = {"a": "JSON"}
        assert LINES.read('{"a": {"x": [1.5, 0.12345678901234567890]}}\n', types=types).values == [
            {"a": {"x": [1.5, "0.12345678901234567890"]}}
        ]
        assert LINES.read('{"a": "text"}\n', types=types).values == [{"a": "text"}]

    def test_null_and_missing_differ(self) -> None:
        assert LINES.read('{"a":null}\n{}\n{"a":""}\n').values == [{"a": None}, {}, {"a": ""}]

    def test_blank_lines_a_bom_and_carriage_returns_are_no_matter(self) -> None:
        result = LINES.read(b'\xef\xbb\xbf{"a":"1"}\r\n\r\n  \n {"a":"2"} \r\n')
        assert (result.values, result.lines, result.bad) == ([{"a": "1"}, {"a": "2"}], [1, 4], [])

    def test_types_that_are_declared(self) -> None:
        types = {"n": "LONG", "d": {"type": "DECIMAL", "precision": 4, "scale": 2}, "t": "UTC_DATETIME", "b": "BOOLEAN"}
        result = LINES.read('{"n":5,"d":1.50,"t":"2026-01-31T12:00:00Z","b":true}\n{"n":1.5}\n{"n":{}}\n', types=types)
        (values,) = result.values
        assert (values["n"], values["d"], values["t"].isoformat(), values["b"]) == (
            5, "1.50", "2026-01-31T12:00:00+00:00", True,
        )  # fmt: skip
        assert [(line, reason.split(":")[0]) for line, _, reason in result.bad] == [(2, "column n"), (3, "column n")]


class TestKeys:
    def test_become_the_names_that_are_delivered(self) -> None:
        result = LINES.read('{"orderId":1,"Größe":2}\n')
        assert (list(result.columns), result.values) == (["order_id", "größe"], [{"order_id": "1", "größe": "2"}])

    def test_without_a_column_are_kept_together(self) -> None:
        result = LINES.read('{"a":1,"New One":{"x":1.5},"_file":"f","":0}\n', columns=["a"])
        assert result.values == [{"a": "1", "_undeclared": {"New One": {"x": 1.5}, "_file": "f", "": 0}}]

    def test_two_of_one_name_lose_nothing(self) -> None:
        assert LINES.read('{"a b":1,"a_b":2}\n').values == [{"a_b": "1", "_undeclared": {"a_b": 2}}]
        assert LINES.read('{"a":1,"a":2}\n').values == [{"a": "1", "_undeclared": {"a": 2}}]
        result = LINES.read('{"a":1,"a":2,"a":3}\n{"a":{"x":1,"x":2}}\n')
        assert [(line, reason) for line, _, reason in result.bad] == [(1, "has the key 'a' twice, or more often")]
        assert result.values == [{"a": '{"x": 1, "x": 2}'}]

    def test_a_key_twice_inside_of_a_json_column_is_a_bad_row(self) -> None:
        result = LINES.read('{"a":{"x":1,"x":2}}\n', types={"a": "JSON"})
        assert "an object has the key 'x' twice" in result.bad[0][2]

    def test_keys_that_are_data_do_not_fill_the_memory(self) -> None:
        text = "".join(f'{{"k{number}":1}}\n' for number in range(30_000))
        assert len(LINES.read(text, columns=[]).records) == 30_000

    def test_beyond_ten_thousand_have_no_column_and_lose_nothing(self) -> None:
        values = LINES.read("".join(f'{{"k{number}":1}}\n' for number in range(10_002))).values
        assert values[9_999:] == [{"k9999": "1"}, {"_undeclared": {"k10000": 1}}, {"_undeclared": {"k10001": 1}}]


class TestBadRows:
    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            (b"{bad}", "is no JSON from character 2 on"),
            (b'{"a":1', "is no JSON from character 7 on"),
            (b'{"a":1} x', "is no JSON object alone: something is behind it, from character 8 on"),
            (b"[1]", "is no JSON object"),
            (b'"text"', "is no JSON object"),
            (b'{"a":NaN}', "NaN is not JSON"),
            (b'{"a":"\\ud800"}', "column a: holds half of a surrogate pair"),
            (b'{"a":"\\u0000"}', "column a: holds a NUL"),
            (b'{"a":"\xff"}', "holds bytes that are no text in utf-8"),
            (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is nested too deeply"),
        ],
    )
    @pytest.mark.parametrize("page_bytes", [1, 10_000])
    def test_a_bad_line_is_named_and_the_lines_around_it_arrive(
        self, line: bytes, reason: str, page_bytes: int
    ) -> None:
        data = b'{"a":"x"}\n' + line + b'\n{"a":"\xc3\xa9"}\n'
        result = LINES.read(data, page_bytes=page_bytes)
        assert (result.values, result.lines) == ([{"a": "x"}, {"a": "é"}], [1, 3])
        ((number, raw, told),) = result.bad
        assert (number, told.startswith(reason)) == (2, True), told
        assert raw == line[:10_000].decode("utf-8", "backslashreplace")

    def test_what_is_no_object_in_a_list_is_named(self) -> None:
        result = JSON.read('[{"a":1}, 5, null, [2.50], {"a":"\\u0000"}, {"a":2}]')
        assert (result.values, result.lines) == ([{"a": "1"}, {"a": "2"}], [1, 6])
        assert [bad[:2] for bad in result.bad] == [(2, "5"), (3, "null"), (4, "[2.50]"), (5, '{"a": "\\u0000"}')]

    def test_a_line_that_is_too_long_is_skipped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(json_format.Lines.peek.__globals__, "LONGEST_RECORD", 20_000)
        data = b'{"a":1}\n{"a":"' + b"x" * 100_000 + b'"}\n{"a":2}\n'
        result = LINES.read(data)
        assert (result.lines, [bad[0] for bad in result.bad]) == ([1, 3], [2])
        assert result.batches[-1].place == {"offset": len(data), "line": 4, "crc": zlib.crc32(data)}
        check_resuming(LINES, data)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ('[{"a":1}, {"a":2,]', "is no JSON behind byte 10, where record 2 should be"),
            ('[{"a":1}', "is no JSON behind byte 8, where record 2 should be"),
            ('[{"a":1}] x', "is no JSON behind byte"),
            ('{"a":1}\n{"a":1', ""),
            ('{"x":[]}', "has no list of records at the path 'y.z'"),
            ('{"y":{"z":{}}}', "has no list of records at the path 'y.z'"),
        ],
    )
    def test_a_list_that_is_no_json_is_a_problem_behind_what_was_read(self, text: str, told: str) -> None:
        result = JSON.read(text, record_path="y.z" if "path" in told else "")
        assert result.problem.startswith(f"a.json {told}" if told else "")
        assert [values["a"] for values in result.values] == ["1"] * text.startswith(("[", '{"a"'))

    def test_a_record_that_is_too_long_for_a_list_is_a_problem(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(json_format.JsonReader._batches_of_values.__globals__, "LONGEST_RECORD", 20_000)
        result = JSON.read('[{"a":1},{"a":"' + "x" * 30_000 + '"}]')
        assert (result.values, "record 2, or what stands beside" in result.problem) == ([{"a": "1"}], True)

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_half_a_gzip_gives_its_whole_records_and_then_the_problem(self, layout: tuple[str, dict[str, Any]]) -> None:
        objects = [{"a": str(zlib.crc32(bytes(number % 200)))} for number in range(20_000)]
        packed = gzip.compress(written(objects, layout[0]))
        format_ = format_of(layout[0])
        result = format_.read(packed[: len(packed) // 2], f"a{format_.suffix}.gz", page_bytes=1_000, **layout[1])
        assert "its gzip data ends too early" in result.problem
        assert len(result.records) > 2_000
        assert (result.values, result.bad) == (objects[: len(result.records)], [])


class TestShapes:
    def test_lines_in_a_file_called_json_are_lines(self) -> None:
        result = JSON.read('{"a":1}\nbad\n{"a":2}\n')
        assert (result.lines, [bad[0] for bad in result.bad]) == ([1, 3], [2])

    def test_the_setting_format_decides(self) -> None:
        assert len(JSON.read("[1]\n[2]\n", format="jsonl").bad) == 2
        assert LINES.read('[{"a":1},\n{"a":2}]', format="json").lines == [1, 2]

    def test_objects_right_behind_one_another_are_records(self) -> None:
        assert JSON.read('{"a":1}{"a":2}\n\n{"a":\n3}').values == [{"a": "1"}, {"a": "2"}, {"a": "3"}]

    @pytest.mark.parametrize("text", ["", " \n", "[]", "[ ]\n"])
    def test_empty_files_have_no_records(self, text: str) -> None:
        result = JSON.read(text)
        assert (result.batches, result.problem, result.columns) == ([], "", {})

    def test_columns_are_those_of_the_first_megabyte(self) -> None:
        text = '{"a":1}\n{"b":2}\n' + "x" * 1_100_000 + '\n{"c":3}\n'
        assert list(LINES.read(text).columns) == ["a", "b"]


class TestPlaces:
    def test_of_lines_are_those_of_csv(self) -> None:
        data = b'{"a":1}\n{"a":2}'
        result = LINES.read(data)
        assert [batch.place for batch in result.batches] == [
            {"offset": 8, "line": 2, "crc": zlib.crc32(data[:8])},
            {"offset": 8, "line": 2, "crc": zlib.crc32(data[:8]), "unterminated": True},
        ]
        assert LINES.read(data + b'0}\n{"a":3}\n'.replace(b"0}", b""), place=result.batches[1].place).lines == [2, 3]

    def test_of_a_list_are_bytes_behind_a_record(self) -> None:
        data = '[{"a":"é"} , {"a":"2"}]'.encode()
        first, second = JSON.read(data, page_bytes=1).batches
        assert data[first.place["offset"] :].lstrip(b" ,").startswith(b'{"a":"2"}')
        assert (first.place["line"], first.place["crc"], second.place["line"]) == (2, None, 3)

    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize(
        ("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".zst", zstandard.compress), (".bz2", bz2.compress)]
    )
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
    def test_resumed_at_any_place_in_any_compression_and_encoding(
        self, layout: tuple[str, dict[str, Any]], suffix: str, pack: Any, encoding: str
    ) -> None:
        objects = [{"a": str(number), "b": "é" * (number % 40)} for number in range(200)]
        format_ = format_of(layout[0])
        data = pack(written(objects, layout[0]).decode().encode(encoding))
        how = {"name": f"a{format_.suffix}{suffix}", "page_bytes": 400, **layout[1]}
        assert format_.read(data, **how).values == objects
        assert check_resuming(format_, data, **how) > 10


class TestMemory:
    def test_a_line_of_many_small_values_is_a_bad_row_before_it_takes_memory(self) -> None:
        first = '{"a":"' + "x" * 1_048_576 + '"}'
        heavy = '{"a":[' + "0," * 1_500_000 + "0]}"
        tracemalloc.start()
        result = LINES.read(f'{first}\n{heavy}\n{{"a":2}}\n', columns=["a"])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert result.lines == [1, 3]
        assert [(line, reason.split(":")[0]) for line, _, reason in result.bad] == [
            (2, "is many small values that take too much memory together")
        ]
        assert peak < 15 * len(heavy)

    def test_a_line_of_long_text_is_a_record(self) -> None:
        assert LINES.read(f'{{"a":"{"x, " * 500_000}"}}\n', columns=["a"]).values == [{"a": "x, " * 500_000}]
