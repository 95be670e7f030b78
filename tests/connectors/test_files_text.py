"""Text in any compression, encoding and archive, and texts to values of a type."""

import bz2
import gzip
import io
import random
import tracemalloc
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.connectors.files_reading import Bytes
from tests.loading import load_module

text_stream = load_module("files", "text_stream")
archives = load_module("files", "archives")
text_values = load_module("files", "text_values")
File = archives.members.__globals__["Content"].__annotations__["file"]
FileProblem = text_stream.FileProblem
TextStream = text_stream.TextStream

PACKERS: list[tuple[str, Any]] = [
    ("", bytes),
    (".gz", gzip.compress),
    (".zst", zstandard.compress),
    (".bz2", bz2.compress),
]


def settings(**given: Any) -> Any:
    return text_stream.Settings(**{"location": "sample", "tables": "t = *", **given})


def stream(data: bytes, name: str, chunk: int = 1_048_576, **given: Any) -> Any:
    return TextStream(Bytes(File(name, len(data), 0, 0), data, chunk), settings(**given))


def read(data: bytes, name: str, start: int = 0, chunk: int = 1_048_576, **given: Any) -> bytes:
    return b"".join(stream(data, name, chunk, **given).chunks(start))


class TestOneStreamOfUtf8:
    @given(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff"), max_size=40),
        st.sampled_from(PACKERS),
        st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be"]),
        st.integers(1, 50),
        st.data(),
    )
    def test_of_any_compression_and_encoding_from_any_offset(
        self, text: str, packer: tuple[str, Any], encoding: str, chunk: int, data: st.DataObject
    ) -> None:
        suffix, pack = packer
        raw = ("\ufeff" + text).encode(encoding) if encoding == "utf-16-be" else text.encode(encoding)
        start = data.draw(st.integers(0, len(text.encode())))
        assert read(pack(raw), f"a.csv{suffix}", start, chunk) == text.encode()[start:]

    @pytest.mark.parametrize(("suffix", "pack"), PACKERS[1:])
    def test_of_compressed_parts_one_after_the_other(self, suffix: str, pack: Any) -> None:
        data = pack(b"one,") + pack(b"") + pack(b"two")
        for chunk in (1, 7, 1000):
            assert read(data, f"a{suffix}", chunk=chunk) == b"one,two"

    def test_gzip_may_be_padded_with_zeros(self) -> None:
        assert read(gzip.compress(b"x") + bytes(1000), "a.gz", chunk=100) == b"x"

    def test_an_encoding_that_is_set(self) -> None:
        assert read("é€".encode("cp1252"), "a.csv", encoding="cp1252") == "é€".encode()
        assert read(b"\xef\xbb\xbfx", "a.csv", encoding="utf-8") == b"x"
        assert read("\ufeffé".encode("utf-16-le"), "a.csv", encoding="utf-16-le") == "é".encode()

    @pytest.mark.parametrize(
        ("data", "encoding"), [(b"a\x81b", "cp1252"), (b"\xc3\xa9\xff", "shift_jis"), (b"\x00\xd8x\x00", "utf-16-le")]
    )
    def test_what_is_no_text_of_the_encoding_never_looks_like_text(self, data: bytes, encoding: str) -> None:
        with pytest.raises(UnicodeDecodeError):
            read(data, "a.csv", encoding=encoding).decode()

    def test_only_plain_utf8_is_read_from_an_offset_without_what_is_before(self) -> None:
        assert stream(b"abc", "a.csv").is_seekable
        assert stream(b"\xef\xbb\xbfabc", "a.csv").is_seekable
        assert not stream("abc".encode("utf-16"), "a.csv").is_seekable
        assert not stream(gzip.compress(b"abc"), "a.csv.gz").is_seekable
        assert not stream(b"abc", "a.csv", encoding="cp1252").is_seekable

    def test_checksum_of_what_is_before_an_offset(self) -> None:
        found = stream(gzip.compress(b"abcdef"), "a.gz", chunk=3)
        assert text_stream.stream_crc(found, 4) == zlib.crc32(b"abcd")
        assert text_stream.stream_crc(found, 0) == 0
        assert text_stream.stream_crc(found, 7) is None


class TestProblems:
    @pytest.mark.parametrize(("suffix", "pack"), PACKERS[1:])
    def test_a_cut_file_gives_what_came_before(self, suffix: str, pack: Any) -> None:
        text = bytes(random.Random(1).choices(b"abcdefgh\n", k=2_000_000))
        data = pack(text)
        given = stream(data[: len(data) * 3 // 4], f"a.csv{suffix}").head(len(text))
        with pytest.raises(FileProblem, match=f"a.csv{suffix} is cut: its .* data ends too early"):
            read(data[: len(data) * 3 // 4], f"a.csv{suffix}")
        assert len(given) > 100_000
        assert text.startswith(given)

    @pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2"])
    def test_another_file_of_that_name_is_told(self, suffix: str) -> None:
        with pytest.raises(FileProblem, match=f"a.csv{suffix} is named like .*, but is none"):
            read(b"a,b\n1,2\n" * 100, f"a.csv{suffix}")

    @pytest.mark.parametrize(("suffix", "pack"), PACKERS[1:])
    def test_damage_and_empty_files_are_told(self, suffix: str, pack: Any) -> None:
        data = bytearray(pack(bytes(random.Random(1).choices(b"abcdefgh\n", k=2_000_000))))
        data[len(data) // 2 : len(data) // 2 + 100] = bytes(100)
        with pytest.raises(FileProblem, match="is damaged|is cut"):
            read(bytes(data), f"a{suffix}")
        with pytest.raises(FileProblem, match="ends too early"):
            read(b"", f"a{suffix}")

    @pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
    def test_a_compressed_file_of_another_name_is_told(self, suffix: str, pack: Any) -> None:
        with pytest.raises(FileProblem, match=rf"a.csv is compressed, .* name it \{suffix}"):
            read(pack(b"a,b\n"), "a.csv")

    def test_half_a_character_at_the_end_is_told(self) -> None:
        with pytest.raises(FileProblem, match="correct the setting encoding"):
            read(b"a\x00b", "a.csv", encoding="utf-16-le")


class TestMemory:
    @pytest.mark.parametrize(("suffix", "pack"), PACKERS[1:])
    def test_what_is_packed_extremely_small_takes_little(self, suffix: str, pack: Any) -> None:
        data = pack(b"x" * 200_000_000)
        tracemalloc.start()
        size = sum(map(len, stream(data, f"a{suffix}").chunks()))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert size == 200_000_000
        assert peak < 70 * 2**20

    def test_one_member_of_100_000_is_in_memory_at_a_time(self) -> None:
        data = packed({f"folder/{number}.csv": b"a\n1\n" for number in range(100_000)})
        tracemalloc.start()
        count = sum(1 for _ in archives.members(in_memory(data), settings()))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert count == 100_000
        assert peak < 16 * 2**20


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED, **how: Any) -> bytes:
    result = io.BytesIO()
    with zipfile.ZipFile(result, "w", method) as archive:
        for name, data in files.items():
            with archive.open(name, "w", **how) as member:
                member.write(data)
    return result.getvalue()


def in_memory(data: bytes) -> Bytes:
    return Bytes(File("z.zip", len(data), 0, 0), data)


def unpacked(data: bytes, **given: Any) -> dict[str, bytes]:
    return {member.name: b"".join(member.open()) for member in archives.members(in_memory(data), settings(**given))}


class TestArchives:
    FILES = {  # noqa: RUF012 - never changed
        "a.csv": b"a\n1\n",
        "deep/er/ü.csv": random.Random(1).randbytes(3_000_000),
        "long.csv": b"x" * 5_000_000,
        "empty.csv": b"",
    }

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    @pytest.mark.parametrize("how", [{}, {"force_zip64": True}])
    @pytest.mark.parametrize("before", [b"", b"#!installer" * 10])
    def test_every_member_is_a_file(self, method: int, how: dict[str, Any], before: bytes) -> None:
        assert unpacked(before + packed(self.FILES, method, **how)) == self.FILES

    def test_of_more_members_than_a_small_archive_may_have(self) -> None:
        files = {f"{number}.csv": str(number).encode() for number in range(66_000)}
        assert unpacked(b"installer" + packed(files)) == files

    def test_what_systems_put_beside_the_files_is_skipped(self) -> None:
        files = dict.fromkeys(["a.csv", "__MACOSX/._a.csv", ".DS_Store", "x/.git/y", "folder/"], b"")
        assert list(unpacked(packed(files))) == ["a.csv"]

    @pytest.mark.parametrize(
        ("pattern", "names"),
        [
            ("*.csv", ["a.csv"]),
            ("**/*.csv", ["a.csv", "x/c.csv", "x/y/d.csv"]),
            ("x/**", ["x/c.csv", "x/y/d.csv"]),
            ("x/c.csv", ["x/c.csv"]),
        ],
    )
    def test_a_pattern_as_in_tables_chooses_members(self, pattern: str, names: list[str]) -> None:
        files = dict.fromkeys(["a.csv", "b.txt", "x/c.csv", "x/y/d.csv"], b"")
        assert list(unpacked(packed(files), zip_members=pattern)) == names

    def test_a_member_may_be_compressed_itself_and_has_a_name_of_its_own(self) -> None:
        content = in_memory(packed({"x/a.csv.gz": gzip.compress(b"a,b\n")}))
        (member,) = archives.members(content, settings())
        found = TextStream(content, settings(), member)
        assert (found.name, found.is_seekable) == ("z.zip/x/a.csv.gz", False)
        assert b"".join(found.chunks(2)) == b"b\n"

    @pytest.mark.parametrize(
        ("spoil", "told"),
        [
            (lambda data: data[: len(data) // 2], "z.zip is no zip archive, or is cut"),
            (lambda data: b"", "z.zip is no zip archive, or is cut"),
            (lambda data: data[:60] + b"\0\0\0\0" + data[64:], "z.zip/a.csv is damaged"),
            (lambda data: data.replace(b"PK\1\2", b"PK\1\3"), "z.zip is damaged: its directory leads to nothing"),
            (lambda data: data.replace(b"PK\3\4", b"PK\3\5"), "z.zip is damaged: its directory leads to nothing"),
            (lambda data: mark_encrypted(data), "z.zip/a.csv is encrypted: pack it without a password"),
        ],
    )
    def test_what_cannot_be_read_is_told(self, spoil: Any, told: str) -> None:
        data = packed({"a.csv": random.Random(1).randbytes(1000)})
        with pytest.raises(archives.FileProblem, match=told):
            unpacked(spoil(data))

    def test_other_compressions_are_told(self) -> None:
        with pytest.raises(archives.FileProblem, match="a way that is not read here \\(14\\): pack it with deflate"):
            unpacked(packed({"a.csv": b"x"}, zipfile.ZIP_LZMA))

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_two_members_of_one_name_are_told(self) -> None:
        result = io.BytesIO()
        with zipfile.ZipFile(result, "w") as archive:
            archive.writestr("a.csv", "1")
            archive.writestr("a.csv", "2")
        with pytest.raises(archives.FileProblem, match="has two members of the name a.csv"):
            unpacked(result.getvalue())

    def test_a_size_that_is_not_known_is_told(self) -> None:
        with pytest.raises(archives.FileProblem, match="the server does not tell, which zip needs"):
            list(archives.members(Bytes(File("z.zip", -1, 0, 0), b""), settings()))


def mark_encrypted(data: bytes) -> bytes:
    at = data.index(b"PK\1\2") + 8
    return data[:at] + bytes([data[at] | 1]) + data[at + 1 :]


DECIMAL = {"type": "DECIMAL", "precision": 6, "scale": 2}


class TestTextsOfATypeArriveExactly:
    @pytest.mark.parametrize(
        ("type_", "text", "value"),
        [
            ("STRING", "", ""),
            ("STRING", "00123", "00123"),
            ("LONG", "00123", 123),
            ("LONG", "-5", -5),
            ("LONG", "12.00", 12),
            ("DOUBLE", "1e5", 1e5),
            ("DOUBLE", "-.5", -0.5),
            ("DOUBLE", "0.1", 0.1),
            (DECIMAL, "1234.50", "1234.50"),
            (DECIMAL, "-.5", "-0.5"),
            (DECIMAL, "1.000", "1.000"),
            ("BOOLEAN", "TRUE", True),
            ("BOOLEAN", "f", False),
            ("BOOLEAN", "No", False),
            ("BOOLEAN", "1", True),
            ("JSON", '{"a": [1, 2.5]}', {"a": [1, 2.5]}),
            ("JSON", "null", None),
            ({"epoch": "s"}, "0", "1970-01-01 00:00:00+00:00"),
            ("NAIVE_DATE", "2026-01-31", "2026-01-31"),
            ("NAIVE_DATETIME", "2026-01-31T12:00:00.123456", "2026-01-31 12:00:00.123456"),
            ("UTC_DATETIME", "2026-01-31 12:00:00Z", "2026-01-31 12:00:00+00:00"),
        ],
    )
    def test_or_as_their_value(self, type_: Any, text: str, value: Any) -> None:
        found = text_values.text_converter(type_)(text)
        assert (str(found) if not isinstance(found, str | float | int | dict | None) else found) == value
        assert type_ == "STRING" or text_values.text_converter(type_)("") is None

    @pytest.mark.parametrize(
        ("type_", "text", "reason"),
        [
            ("LONG", "1.5", "expected a whole number"),
            ("LONG", "1_000", "expected a whole number"),
            ("LONG", "٣", "expected a whole number"),
            ("LONG", " 1", "expected a whole number"),
            ("LONG", "9223372036854775808", "beyond 64 bits"),
            ("LONG", "9" * 5000, "more than 1,000 digits"),
            ("SHORT", "40000", "beyond 16 bits"),
            ("DOUBLE", "0.12345678901234567890", "more digits than a DOUBLE holds"),
            ("DOUBLE", "1e400", "more digits than a DOUBLE holds"),
            ("DOUBLE", "NaN", "expected a number"),
            ("DOUBLE", "1,5", "expected a number"),
            (DECIMAL, "1.234", "more digits than DECIMAL"),
            (DECIMAL, "x", "expected a number"),
            ("BOOLEAN", "2", "expected true or false"),
            ("JSON", "{", "expected JSON"),
            ("JSON", '{"a":1,"a":2}', "the key 'a' twice"),
            ("BINARY", "x", "no BINARY"),
            ("NAIVE_DATE", "31.01.2026", "expected a date"),
            ("NAIVE_DATETIME", "2026-01-31T12:00:00Z", "with an offset"),
            ("UTC_DATETIME", "2026-01-31T12:00:00", "without an offset"),
            ("UTC_DATETIME", "2026-01-31T12:00:00.1234567Z", "finer than a microsecond"),
        ],
    )
    def test_and_are_refused_where_something_would_be_lost(self, type_: Any, text: str, reason: str) -> None:
        with pytest.raises(ValueError, match=reason):
            text_values.text_converter(type_)(text)

    def test_time_of_change(self) -> None:
        modified = text_values.modified_text
        assert modified(File("a", 1, 0, 1_769_860_800_123_456_789)) == "2026-01-31T12:00:00.123456Z"
        assert modified(File("a", 1, 0, 1_000_000_000)) == "1970-01-01T00:00:01.000000Z"
        assert modified(File("a", 1, 0, 0)) is None


def test_chunks_are_read_only_as_far_as_they_are_needed() -> None:
    """Of a large file, its first columns cost its first megabyte."""
    taken = []

    class Endless:
        file = File("a.csv", -1, 0, 0)

        def chunks(self, start: int = 0) -> Iterator[bytes]:
            while True:
                taken.append(1)
                yield b"x" * 1_000

    assert len(TextStream(Endless(), settings()).head(5_000)) == 5_000
    assert len(taken) <= 6
