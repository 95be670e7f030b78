"""One verdict on how memory grows, from what a process looked like while it ran."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiling.growth import growth_of
from profiling.observation import Ending, Observation, Sample

MB = 2**20
BASE = 80 * MB


def observed(points: list[tuple[float, int]], widest: int = 100, seconds: float = 10.0) -> Observation:
    """A run of evenly spaced looks: growth in MB and rows sent at each."""
    samples = [
        Sample(seconds * number / len(points), BASE + int(grown * MB), number / 20, rows, rows * 100)
        for number, (grown, rows) in enumerate(points)
    ]
    rows = points[-1][1] if points else 0
    return Observation(
        "items", Path("items"), "", {}, False, BASE, 1024 * MB, samples, [], {"t": rows}, widest, Ending("finished", "")
    )


def sending(grown: Callable[[float], float], rows: int = 1_000_000, looks: int = 200) -> Observation:
    """Rows sent at a steady pace; `grown` gives MB by the share of them that is sent."""
    return observed([(grown(number / looks), rows * number // looks) for number in range(looks + 1)])


class TestShape:
    def test_flat(self) -> None:
        growth = growth_of(sending(lambda share: 12.0))
        assert growth.shape == "flat"
        assert growth.sentence == "memory stays flat: 92 MB at most, 12 MB more than before update()"

    def test_flat_once_buffers_are_filled(self) -> None:
        assert growth_of(sending(lambda share: min(share / 0.2, 1) * 40)).shape == "flat"

    def test_flat_though_it_goes_up_and_down(self) -> None:
        assert growth_of(sending(lambda share: 10 + 30 * (share * 97 % 1))).shape == "flat"

    def test_with_the_rows(self) -> None:
        growth = growth_of(sending(lambda share: 300 * share))
        assert growth.shape == "rows"
        assert growth.per_100k == pytest.approx(30 * MB, rel=0.02)
        assert growth.sentence == (
            "memory grows with the rows: by 30 MB for every 100,000, 1 GB is reached at about 3.1 M rows"
        )

    def test_with_the_rows_though_slowly(self) -> None:
        assert growth_of(sending(lambda share: 10 + 20 * share)).shape == "rows"

    def test_in_steps(self) -> None:
        growth = growth_of(sending(lambda share: 200 if share > 0.6 else 10))
        assert growth.shape == "steps"
        assert "the largest 190 MB" in growth.sentence

    def test_while_no_row_is_sent(self) -> None:
        gathered = [(400 * number / 100, 0) for number in range(100)]
        sent = [(400.0, 10_000 * number) for number in range(1, 101)]
        growth = growth_of(observed(gathered + sent))
        assert growth.shape == "collects"
        assert "while no row was sent, of 1,000,000 rows in all" in growth.sentence

    def test_while_no_row_is_sent_before_every_table(self) -> None:
        looks: list[tuple[float, int]] = []
        for table in range(4):
            looks += [(100 * (table + number / 50), table * 50_000) for number in range(50)]
            looks += [(100 * (table + 1.0), table * 50_000 + 1000 * number) for number in range(1, 51)]
        assert growth_of(observed(looks)).shape == "collects"

    def test_no_row_at_all(self) -> None:
        growth = growth_of(observed([(9.0 * number, 0) for number in range(100)]))
        assert growth.shape == "collects"
        assert growth.sentence.endswith("and no row was sent")

    def test_a_file_read_whole_in_a_moment(self) -> None:
        looks = [(0.0, 0), (120.0, 0), (250.0, 0)] + [(250.0, 5000 * number) for number in range(200)]
        assert growth_of(observed(looks)).shape == "collects"

    def test_as_much_as_all_that_is_sent_though_rows_were_sent_meanwhile(self) -> None:
        growth = growth_of(sending(lambda share: min(share / 0.25, 1) * 120))
        assert growth.shape == "collects"
        assert growth.sentence == "it holds what it sends: memory grew by 120 MB, and all rows together have 95 MB"

    def test_the_first_page_alone_is_no_collecting(self) -> None:
        looks = [(0.0, 0), (15.0, 0)] + [(15.0, 5000 * number) for number in range(100)]
        assert growth_of(observed(looks)).shape == "flat"

    def test_with_the_width(self) -> None:
        looks = [(5.0, 1000 * number) for number in range(100)]
        looks[50] = (180.0, 50_000)
        growth = growth_of(observed(looks, widest=60 * MB))
        assert growth.shape == "width"
        assert "the widest has 60 MB, and memory grew by 180 MB, 3.0 times that" in growth.sentence

    def test_so_much_with_the_first_rows_that_it_is_no_page(self) -> None:
        growth = growth_of(sending(lambda share: min(share / 0.25, 1) * 120, rows=10_000_000))
        assert growth.shape == "plateau"
        assert growth.sentence.startswith("memory grew by 120 MB with the first rows, and no more after them")

    def test_what_is_taken_after_the_last_row_is_no_collecting(self) -> None:
        looks = [(3.0, 5000 * number) for number in range(100)] + [(3.0 + number, 495_000) for number in range(100)]
        assert growth_of(observed(looks)).shape == "steps"

    def test_a_leak_that_begins_late_is_forecast_by_its_own_pace(self) -> None:
        growth = growth_of(sending(lambda share: 5 + max(share - 0.7, 0) * 300))
        assert growth.shape == "rows"
        assert growth.per_100k == pytest.approx(30 * MB, rel=0.3)

    def test_few_rows_are_no_pace(self) -> None:
        growth = growth_of(sending(lambda share: 300 * share, rows=50))
        assert growth.shape in ("steps", "collects")

    def test_memory_that_is_more_than_the_data_says_nothing(self) -> None:
        assert growth_of(sending(lambda share: min(share / 0.25, 1) * 20, rows=10_000)).shape == "short"

    def test_too_little_to_say(self) -> None:
        assert growth_of(observed([])).shape == "short"
        assert growth_of(observed([(1.0, 0), (2.0, 5)])).shape == "short"


@given(st.integers(20, 900), st.integers(1_000, 10_000_000), st.floats(0, 3))
def test_a_leak_is_never_called_flat(megabytes: int, rows: int, noise: float) -> None:
    observation = sending(lambda share: megabytes * share + noise * (share * 31 % 1), rows)
    assert growth_of(observation).shape == "rows"
    assert growth_of(observation).per_100k == pytest.approx(megabytes * MB / rows * 100_000, rel=0.3)


@given(st.floats(0, 40), st.integers(600_000, 10_000_000), st.floats(0, 7))
def test_a_constant_is_never_called_growth(megabytes: float, rows: int, noise: float) -> None:
    observation = sending(lambda share: megabytes * min(share / 0.25, 1) + noise * (share * 31 % 1), rows)
    assert growth_of(observation).shape == "flat"
