"""Where the processor's time goes, call by call: a flamegraph that zooms, as HTML without any library.

Every frame is one element whose place is a share of the width, so it fits every window and can be printed; report.js
only zooms and names. The outermost frames are on top.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from profiling.observation import Category, Frame, Stack
from profiling.stacks import category_of
from profiling.units import escaped, share_text

SMALLEST = 0.002  # the share of all samples below which a frame is left out: it could not be seen
_DEEPEST = 100
_ROW = 19  # pixels

CLASSES: dict[Category, str] = {
    "fetching": "fetching",
    "decoding": "decoding",
    "own code": "own",
    "op.*": "op",
    "profiler": "profiler",
}


@dataclass(slots=True)
class Node:
    """A frame, the samples in which it was met at this place, and what it called."""

    samples: int = 0
    calls: dict[Frame, "Node"] = field(default_factory=dict)

    def add(self, frames: Sequence[Frame], samples: int) -> None:
        node = self
        node.samples += samples
        for frame in frames[:_DEEPEST]:
            node = node.calls.setdefault(frame, Node())
            node.samples += samples

    def largest_first(self) -> list[tuple[Frame, "Node"]]:
        return sorted(self.calls.items(), key=lambda call: -call[1].samples)


def flamegraph(stacks: Sequence[Stack]) -> str:
    """The graph of these stacks, each thread (or pool of threads) with a root of its own; "" where there are none."""
    roots: dict[str, Node] = {}
    for stack in stacks:
        roots.setdefault(_root(stack.thread), Node()).add(_up_to_operation(stack.frames), stack.samples)
    total = sum(root.samples for root in roots.values())
    if not total:
        return ""
    elements: list[str] = []
    depth = 0
    start = 0
    for name, root in sorted(roots.items(), key=lambda item: (item[0] != "main thread", -item[1].samples)):
        elements.append(_element(name, "thread", start, root.samples, 0, total))
        for frame in _frames(root, (), start, total):
            depth = max(depth, len(frame.path))
            kind = CLASSES[category_of(frame.path)]
            elements.append(_element(frame.path[-1], kind, frame.start, frame.samples, len(frame.path), total))
        start += root.samples
    return "\n".join(
        [
            f'<div class="flame" data-total="{total}">',
            '<p class="flame-status"><span>Point at a frame for its name, click on it to zoom.</span>'
            '<button type="button" hidden>show all</button></p>',
            f'<div class="flame-rows" style="height:{(depth + 1) * _ROW}px">',
            *elements,
            "</div></div>",
        ]
    )


def _up_to_operation(frames: Sequence[Frame]) -> Sequence[Frame]:
    """The frames up to the first of an operation: a profile is of the connector, and ends where the SDK begins."""
    for number in range(1, len(frames) + 1):
        if category_of(frames[:number]) == "op.*":
            return frames[:number]
    return frames


@dataclass(frozen=True, slots=True)
class _Placed:
    """A frame's path from the root, and the samples from `start` on that it covers."""

    path: tuple[Frame, ...]
    start: int
    samples: int


def _frames(node: Node, path: tuple[Frame, ...], start: int, total: int) -> Iterator[_Placed]:
    """The frames that can be seen, those that call before those that are called."""
    for name, child in node.largest_first():
        if child.samples >= SMALLEST * total:
            yield _Placed((*path, name), start, child.samples)
            yield from _frames(child, (*path, name), start, total)
        start += child.samples


def _root(thread: str) -> str:
    """The threads of one pool together: "ThreadPoolExecutor-0_3" is of the same work as all others of its pool."""
    return "main thread" if thread == "MainThread" else "threads " + re.sub(r"_\d+$", "", thread)


def _element(name: str, kind: str, start: int, samples: int, depth: int, total: int) -> str:
    left, width = 100 * start / total, 100 * samples / total
    told = f"{samples:,} samples, {share_text(samples / total)}"
    return (
        f'<b class="{kind}" style="left:{left:.3f}%;width:{width:.3f}%;top:{depth * _ROW}px"'
        f' data-at="{start},{samples},{depth}" title="{escaped(name)}: {told}">{escaped(name)}</b>'
    )
