"""Sizes, times and counts as a person reads them, and texts from outside so that they do no harm where they are shown.

MB is 1024^2 bytes and GB is 1024^3, as everywhere in this project; KiB, MiB and GiB are the same sizes as tracemalloc
writes them.
"""

import html
import re

MB = 1024**2
GB = 1024**3

# Control characters steer a terminal and are not allowed in XML; half of a surrogate pair cannot be written as UTF-8.
_NOT_PRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def printable(text: object) -> str:
    """The text with a replacement character for everything that a terminal or a page may not get; tabs are spaces."""
    return _NOT_PRINTABLE.sub("�", str(text).replace("\t", "    "))


def escaped(text: object) -> str:
    """The text for HTML and XML, inside of elements and of attributes."""
    return html.escape(printable(text))


def shortened(text: str, length: int) -> str:
    """The text in one line of at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"


def _rounded(value: float) -> str:
    """Three digits where that is enough: 1.02, 12.3, 482."""
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if digits else text


def size_text(size: float) -> str:
    """82 MB, 1.02 GB, 4.5 KB, 12 bytes."""
    amount = abs(size)
    if amount >= 1000 * MB:
        return f"{_rounded(size / GB)} GB"
    if amount >= 9.95 * MB:
        return f"{size / MB:.0f} MB"
    if amount >= 0.1 * MB:
        return f"{size / MB:.1f} MB"
    if amount >= 1024:
        return f"{_rounded(size / 1024)} KB"
    return f"{size:.0f} bytes"


def growth_text(size: float) -> str:
    """+38 MB, 0 bytes, −2 MB."""
    return f"+{size_text(size)}" if size > 0 else size_text(size).replace("-", "−")


def traced_text(size: float) -> str:
    """10.0 GiB, 512.0 KiB, 12 B."""
    for unit in ("B", "KiB", "MiB"):
        if abs(size) < (1000 if unit == "B" else 1023.95):
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def seconds_text(seconds: float) -> str:
    """29 ms, 0.4 s, 48 s, 3 min 20 s, 2 h 5 min."""
    if 0 < seconds < 0.095:
        return f"{max(1, round(seconds * 1000))} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def count_text(count: float) -> str:
    """940, 38 k, 1.2 M: for axes and labels."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{_rounded(count / size)}{unit}"
    return f"{count:g}"


def share_text(share: float) -> str:
    """8 %, 0.4 %, 0 %."""
    percent = share * 100
    return f"{percent:.1f} %" if 0 < percent < 0.95 else f"{percent:.0f} %"


def plural(count: int, noun: str) -> str:
    """1 table, 12 tables."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
