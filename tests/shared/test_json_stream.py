"""The records of a body, however it is cut into chunks: those that a JSON parser finds in the whole of it."""

import json
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.json_stream import Reading, RecordPath, TooLarge, WrongShape, read
from shared.values import parse_json

LONG = 1_000_000
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(['"', "\\", "\ud83d\ude00", "\ud83d", "é", "Infinity", "{", "]"])
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=4)
LAYOUTS = st.sampled_from(
    [{}, {"indent": 2}, {"separators": (",", ":")}, {"separators": (" ,\r\n\t", " : ")}, {"ensure_ascii": False}]
)
# Numbers that look like shorter ones where they are cut, and literals that look like none.
TOKENS = [
    "1.5e-7",
    "-0",
    "1E400",
    "0.12345678901234567890123",
    "-12.0",
    "true",
    "null",
    '"\\ud83d\\ude00"',
    '"\\u00e9"',
]


def everything(chunks: Iterable[bytes], where: RecordPath, max_record: int = LONG) -> tuple[list[tuple[Any, int]], Any]:
    """All records with their sizes, and the rest of the body."""
    records = []
    reading = read(chunks, where, max_record)
    while True:
        try:
            records.append(next(reading))
        except StopIteration as end:
            return records, end.value


def records_of(body: str | bytes, where: RecordPath, size: int = 7) -> list[Any]:
    return [record for record, _ in everything(cut(body, [size]), where)[0]]


def cut(body: str | bytes, sizes: list[int]) -> list[bytes]:
    """A body in chunks of the sizes in turn."""
    data = body if isinstance(body, bytes) else body.encode()
    chunks: list[bytes] = []
    while data:
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(data[:size])
        data = data[size:]
    return chunks


def dumped(value: Any, layout: dict[str, Any]) -> bytes:
    text = json.dumps(value, **layout)
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can say
        return json.dumps(value).encode()


class TestSameRecordsAsOfTheWhole:
    @given(st.lists(OBJECTS, max_size=5), OBJECTS, LAYOUTS, st.lists(st.integers(1, 30), min_size=1), st.data())
    def test_list_at_any_path(
        self, items: list[Any], beside: dict[str, Any], layout: dict[str, Any], sizes: list[int], data: st.DataObject
    ) -> None:
        keys = data.draw(st.lists(st.sampled_from(["a", "é", "items", " "]), max_size=3))
        body: Any = items
        rest = None
        for key in reversed(keys):
            around = list(beside.items())
            at = data.draw(st.integers(0, len(around)))
            others = {name: value for name, value in around if name != key}
            body = {
                **{name: value for name, value in around[:at] if name != key},
                key: body,
                **{name: value for name, value in around[at:] if name != key},
            }
            rest = others if rest is None else {**others, key: rest}
        text = dumped(body, layout)
        records, left = everything(cut(text, sizes), RecordPath(".".join(keys)))
        whole = parse_json(text)
        for key in keys:
            whole = whole[key]
        assert [record for record, _ in records] == whole
        assert left == (None if rest is None else parse_json(dumped(rest, layout)))

    @given(st.dictionaries(TEXT, OBJECTS, max_size=4), LAYOUTS, st.lists(st.integers(1, 30), min_size=1))
    def test_map(self, members: dict[str, Any], layout: dict[str, Any], sizes: list[int]) -> None:
        members = {
            key: {name: value for name, value in record.items() if name != "its key"} for key, record in members.items()
        }
        text = dumped({"by_id": members, "n": 1}, layout)
        records, rest = everything(cut(text, sizes), RecordPath("by_id", "map", key="its key"))
        assert [record for record, _ in records] == [
            {**record, "its key": key} for key, record in parse_json(text)["by_id"].items()
        ]
        assert rest == {"n": 1}

    @given(OBJECTS, LAYOUTS, st.lists(st.integers(1, 30), min_size=1))
    def test_object(self, item: dict[str, Any], layout: dict[str, Any], sizes: list[int]) -> None:
        text = dumped(item, layout)
        (record, size), *more = everything(cut(text, sizes), RecordPath(shape="object"))[0]
        assert (record, size, more) == (parse_json(text), len(text.decode()), [])

    @given(st.lists(OBJECTS, max_size=5), st.lists(st.integers(1, 30), min_size=1), st.sampled_from(["\n", "\r\n\n "]))
    def test_lines(self, items: list[Any], sizes: list[int], end: str) -> None:
        lines = [json.dumps(item) for item in items]
        for text in (end.join(lines), end.join(lines) + end, end + end.join(lines)):
            records, _ = everything(cut(text, sizes), RecordPath(shape="lines"))
            assert records == [(parse_json(line), len(line)) for line in lines]

    @given(st.lists(VALUES, max_size=5), LAYOUTS, st.lists(st.integers(1, 30), min_size=1))
    def test_values(self, items: list[Any], layout: dict[str, Any], sizes: list[int]) -> None:
        text = dumped({"n": 1, "items": items}, layout)
        records, rest = everything(cut(text, sizes), RecordPath("items", "values"))
        assert repr([value for value, _ in records]) == repr(parse_json(text)["items"])
        assert rest == {"n": 1}

    @given(
        st.lists(OBJECTS | st.lists(VALUES, max_size=3), max_size=5),
        LAYOUTS,
        st.lists(st.integers(1, 30), min_size=1),
        st.sampled_from(["", " ", "\n", "\r\n\t"]),
    )
    def test_sequence(self, items: list[Any], layout: dict[str, Any], sizes: list[int], gap: str) -> None:
        texts = [dumped(item, layout) for item in items]
        records, rest = everything(cut(gap.encode().join([b"", *texts, b""]), sizes), RecordPath(shape="sequence"))
        assert repr([value for value, _ in records]) == repr([parse_json(text) for text in texts])
        assert rest is None

    @pytest.mark.parametrize("token", TOKENS)
    @pytest.mark.parametrize("size", [1, 2, 3, 5])
    def test_a_token_cut_anywhere(self, token: str, size: int) -> None:
        text = f'{{"before": {token} , "items": [{{"x":{token}}},{{"x":[{token}]}}], "after": {token}}}'
        value = parse_json(token)
        records, rest = everything(cut(text, [size]), RecordPath("items"))
        assert [record for record, _ in records] == [{"x": value}, {"x": [value]}]
        assert repr(rest) == repr({"before": value, "after": value})

    def test_numbers_keep_their_digits(self) -> None:
        (record,) = records_of('[{"n": 0.1234567890123456789, "m": 12345678901234567890}]', RecordPath())
        assert record == {"n": Decimal("0.1234567890123456789"), "m": 12345678901234567890}

    def test_sizes_are_the_characters_of_each_record(self) -> None:
        body = '[{"a":1},\n {"b": "é"} , {}]'
        assert [size for _, size in everything([body.encode()], RecordPath())[0]] == [7, 10, 2]

    @pytest.mark.parametrize("size", [1, 2, 3, 100])
    def test_a_byte_order_mark_is_skipped(self, size: int) -> None:
        assert records_of(b'\xef\xbb\xbf[{"a": 1}]', RecordPath(), size) == [{"a": 1}]

    def test_chunks_without_a_byte_are_not_the_end(self) -> None:
        assert everything([b"", b'[{"a"', b"", b":1}]", b""], RecordPath())[0] == [({"a": 1}, 7)]

    def test_what_is_empty_has_no_records(self) -> None:
        assert records_of("[]", RecordPath()) == []
        assert records_of(' { "a" : [ ] } ', RecordPath("a")) == []
        assert records_of("{}", RecordPath(shape="map", key="id")) == []
        assert records_of("", RecordPath(shape="lines")) == []

    def test_a_key_of_a_map_that_the_record_has_as_well(self) -> None:
        assert records_of('{"5": {"id": "5"}}', RecordPath(shape="map", key="id")) == [{"id": "5"}]


class TestWhatIsNoListIsNeverAnEmptyPage:
    @pytest.mark.parametrize("size", [1, 1000])
    @pytest.mark.parametrize(
        ("body", "where", "shown"),
        [
            ("null", RecordPath(), "null"),
            ('{"error": "no"}', RecordPath(), '{"error": "no"}'),
            ('{"error": "no"}', RecordPath("data"), '{"error": "no"}'),
            ('{"data": null, "more": 1}', RecordPath("data"), 'null, "more": 1}'),
            ('{"data": {"error": 1}}', RecordPath("data.items"), '{"error": 1}}'),
            ('{"data": [1]}', RecordPath("data.items"), "[1]}"),
            ('{"data": 17}', RecordPath("data"), "17}"),
            ('[{"a": 1}, null]', RecordPath(), "null]"),
            ("[[]]", RecordPath(), "[]]"),
            ("[]", RecordPath(shape="object"), "[]"),
            ("[]", RecordPath(shape="map", key="id"), "[]"),
            ('{"7": {}, "error": "no"}', RecordPath(shape="map", key="id"), '"no"}'),
            ('{"a": 1}\n[2]', RecordPath(shape="lines"), "[2]"),
            ('{"5": {"id": 5}}', RecordPath(shape="map", key="id"), "the key '5' of a record whose field 'id' is 5"),
            ('{"a": [{}], "a": [{}]}', RecordPath("a"), 'the key \'a\' twice in {"a": [{}], "a": [{}]}'),
        ],
    )
    def test_it_is_shown_instead(self, body: str, where: RecordPath, shown: str, size: int) -> None:
        with pytest.raises(WrongShape) as told:
            records_of(body, where, size)
        assert str(told.value) == shown

    def test_only_its_start_is_shown_and_read(self) -> None:
        with pytest.raises(WrongShape) as told:
            everything(cut('{"error": [' + "1, " * 100_000 + "1]}", [100]), RecordPath(), max_record=1000)
        assert len(str(told.value)) == 200

    def test_a_path_that_cannot_be(self) -> None:
        with pytest.raises(ValueError, match="lines have no path"):
            RecordPath("items", "lines")
        with pytest.raises(ValueError, match="needs the name of the field"):
            RecordPath("items", "map")
        with pytest.raises(ValueError, match="needs the name of the field"):
            RecordPath("items", key="id")


class TestWhatIsNoJsonIsTold:
    @given(st.lists(OBJECTS, min_size=1, max_size=3), st.integers(1, 30), st.data())
    def test_a_body_that_was_cut_anywhere(self, items: list[Any], size: int, data: st.DataObject) -> None:
        text = json.dumps({"data": {"items": items, "next": 12}}).encode()
        end = data.draw(st.integers(0, len(text) - 1))
        with pytest.raises(ValueError, match="may be cut off") as told:
            everything(cut(text[:end], [size]), RecordPath("data.items"))
        assert not isinstance(told.value, (WrongShape, TooLarge))

    @pytest.mark.parametrize("size", [1, 3, 1000])
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("", "is no JSON after character 0 of 0: it may be cut off"),
            ("<html>", "is no JSON after character 0"),
            ('[{"a": 1}] x', "is no JSON after character 11"),
            ('[{"a": 1}', "is no JSON after character 9 of 9: it may be cut off"),
            ('[{"a": 1},]', "is no JSON after character 10"),
            ('[{"a": 1} {"a": 2}]', "is no JSON after character 10"),
            ('[{"a": 1}}', "is no JSON after character 9"),
            ("[{'a': 1}]", "is no JSON"),
            ('[{"a": 01}]', "is no JSON"),
            ('[{"a": +1}]', "is no JSON"),
            ('[{"a": "\n"}]', "is no JSON"),
            ('[{"a": NaN}]', "NaN is not JSON"),
            ('[{"a": -Infinity}]', "-Infinity is not JSON"),
            (f'[{{"a": {"9" * 5000}}}]', "holds a whole number of more than 4,300 digits"),
            ('[{"a": 1e99999999999999999999}]', "holds a number with an exponent beyond all bounds"),
            ('[{"a":' + "[" * 100_000 + "]" * 100_000 + "}]", "is nested too deeply"),
            (b'[{"a": "\xff"}]', "is no UTF-8 text"),
            (b'[{"a": "\xed\xa0\x80"}]', "is no UTF-8 text"),
            (b'[{"a": "\xc3', "is no UTF-8 text"),
        ],
    )
    def test_with_its_place(self, body: str | bytes, message: str, size: int) -> None:
        with pytest.raises(ValueError, match=message) as told:
            records_of(body, RecordPath(), size)
        assert not isinstance(told.value, (WrongShape, TooLarge))

    @pytest.mark.parametrize("body", ["{", "{1: 2}", '{"a" 1}', '{"a": 1,}', '{"a": 1 "b": 2}', '{"a": []]'])
    def test_an_object_on_the_way(self, body: str) -> None:
        with pytest.raises(ValueError, match="is no JSON after character"):
            records_of(body, RecordPath("x"))

    @pytest.mark.parametrize("body", ['{"a": 1} {"a": 2}', '{"a": 1},\n{"a": 2}', '{"a":\n', '{"a": 1}\n{"a'])
    def test_a_line_that_is_none(self, body: str) -> None:
        with pytest.raises(ValueError, match="is no JSON after character"):
            records_of(body, RecordPath(shape="lines"))

    def test_it_is_found_without_reading_to_the_end(self) -> None:
        def body() -> Iterator[bytes]:
            yield b'[{"a": wrong, ' + b"x" * 1000
            raise AssertionError("read on")

        with pytest.raises(ValueError, match="is no JSON after character 7"):
            everything(body(), RecordPath())

    def test_the_records_before_it_are_given(self) -> None:
        reading = read([b'[{"a": 1}, {"a": 2}, {"a"'], RecordPath(), LONG)
        assert [next(reading), next(reading)] == [({"a": 1}, 8), ({"a": 2}, 8)]
        with pytest.raises(ValueError, match="may be cut off"):
            next(reading)


class TestMemoryIsBounded:
    def test_a_body_of_50_mb(self) -> None:
        record = json.dumps({"id": 1, "name": "é" * 20, "values": [1.5, None, True], "note": "x" * 900}).encode() + b","

        def body() -> Iterator[bytes]:
            yield b'{"data": ['
            for _ in range(800):
                yield record * 64
            yield record[:-1] + b'], "next": 7}'

        reading = read(body(), RecordPath("data"), LONG)
        next(reading)
        tracemalloc.start()
        count = sum(1 for _ in reading)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == 800 * 64
        assert peak < 1_500_000

    @pytest.mark.parametrize("size", [1, 1000])
    def test_a_record_beyond_the_bound(self, size: int) -> None:
        record = '{"a": "' + "x" * 91 + '"}'
        assert len(record) == 100
        chunks = cut(f"[{record}, {record}]", [size])
        assert len(everything(chunks, RecordPath(), max_record=100)[0]) == 2
        with pytest.raises(TooLarge, match="a record is longer than 99 characters of JSON.* have the server leave"):
            everything(chunks, RecordPath(), max_record=99)

    @pytest.mark.parametrize("small", ['{"a": 1}', "{}", "[]", "[1]", "1.5", '"ab"', "null"])
    def test_a_record_of_many_small_values_that_takes_as_much_memory(self, small: str) -> None:
        def of(count: int) -> list[bytes]:
            return cut('[{"a": [' + ", ".join([small] * count) + "]}]", [100_000])

        tracemalloc.start()
        try:
            [(record, _size)], _ = everything(of(10_000), RecordPath(), max_record=1_000_000)
            memory = tracemalloc.get_traced_memory()[0] / 10_000
        finally:
            tracemalloc.stop()
        most = int(5_000_000 / max(memory, 8))  # values in as much memory as 1 MB of text takes when it is sent
        assert record
        with pytest.raises(TooLarge, match="or takes as much memory in many small values"):
            everything(of(2 * most), RecordPath(), max_record=1_000_000)

    def test_a_long_text_is_only_as_heavy_as_it_is_long(self) -> None:
        record = json.dumps({"text": "Hello, world. " * 5000, "more": {"a": ["x" * 20_000]}})
        assert everything(cut(f"[{record}]", [1000]), RecordPath(), max_record=len(record))[0][0][1] == len(record)

    @pytest.mark.parametrize("size", [1, 1000])
    def test_the_rest_of_the_body_beyond_the_bound(self, size: int) -> None:
        before = ", ".join(f'"k{number}": "12345678"' for number in range(5))
        chunks = cut(f'{{{before}, "items": [{{}}{" " * 300}], "after": "{"x" * 34}"{" " * 300}}}', [size])
        assert everything(chunks, RecordPath("items"), max_record=101)[1]["after"] == "x" * 34
        with pytest.raises(TooLarge, match="what stands beside the records is longer than 100 characters"):
            everything(chunks, RecordPath("items"), max_record=100)

    def test_no_more_is_read_than_the_bound_needs(self) -> None:
        read_on = 0

        def body() -> Iterator[bytes]:
            nonlocal read_on
            yield b'[{"a": "'
            while True:
                read_on += 100
                yield b"x" * 100

        with pytest.raises(TooLarge):
            everything(body(), RecordPath(), max_record=10_000)
        assert read_on < 10_300

    def test_records_come_before_the_body_has_ended(self) -> None:
        def body() -> Iterator[bytes]:
            yield b'{"data": [{"a": 1}, {"a": 2}, {"a": "' + b"x" * 200
            raise ConnectionError

        reading = read(body(), RecordPath("data"), LONG)
        assert next(reading)[0] == {"a": 1}
        assert next(reading)[0] == {"a": 2}
        with pytest.raises(ConnectionError):
            next(reading)


class TestCostGrowsWithTheLength:
    def test_a_record_in_many_small_chunks(self) -> None:
        def seconds(length: int) -> float:
            chunks = cut('[{"a": [' + "1," * length + "1]}]", [100])
            started = time.process_time()
            everything(chunks, RecordPath(), max_record=20_000_000)
            return time.process_time() - started

        seconds(10_000)
        assert seconds(800_000) < 40 * max(seconds(80_000), 0.001)  # 10 times were linear, 100 times quadratic


class TestReading:
    @given(st.lists(OBJECTS, max_size=5), LAYOUTS, st.lists(st.integers(1, 30), min_size=1))
    def test_tells_the_byte_behind_each_record(
        self, items: list[Any], layout: dict[str, Any], sizes: list[int]
    ) -> None:
        text = dumped(items, layout)
        reading = Reading(cut(text, sizes), RecordPath(), LONG)
        for number, (record, _) in enumerate(reading.records(), start=1):
            rest = text[reading.offset :].lstrip(b" \r\n\t,")
            assert record == parse_json(text)[number - 1]
            assert parse_json(b"[" + rest) == parse_json(text)[number:]

    def test_decodes_as_it_is_told(self) -> None:
        decoder = json.JSONDecoder(parse_int=str)
        assert list(Reading([b'[{"a":1}]'], RecordPath(), LONG, decoder).records()) == [({"a": "1"}, 7)]
