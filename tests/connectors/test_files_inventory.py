"""connectors/files: what is known of a million files in a state of constant size, and in constant memory."""

import random
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from tests.loading import load_module

inventory = load_module("files", "inventory")
catalogue = load_module("files", "catalogue")
File = catalogue.File
Inventory = inventory.Inventory


def files(numbers: range) -> Iterator[Any]:
    return (File(f"folder/{number:07}.csv", 100, 1_700_000_000_000_000_000 + number // 3, 0, "") for number in numbers)


class TestTheInventory:
    @pytest.mark.parametrize("changes", [0, 1, 2, 10, 100, 500, inventory.MOST_CHANGES])
    def test_tells_which_of_many_files_are_gone_and_which_came_late(self, changes: int) -> None:
        gone = {inventory.id_of(file) for file in files(range(changes // 2))}
        late = {inventory.id_of(file) for file in files(range(5000, 5000 + changes - changes // 2))}
        known, now = Inventory.of(files(range(5000))), Inventory.of(files(range(changes // 2, 5000)))
        for file_id in late:
            now.add(file_id)
        assert Inventory(known.text()).difference(now) == inventory.Difference(frozenset(gone), frozenset(late))

    def test_says_when_there_are_too_many_changes_and_never_names_a_wrong_one(self) -> None:
        chance = random.Random(7)
        for _ in range(60):
            changes = chance.randrange(inventory.MOST_CHANGES, 2000)
            gone = {chance.getrandbits(64) for _ in range(changes)}
            known = Inventory()
            for file_id in gone:
                known.add(file_id)
            found = known.difference(Inventory())
            assert found is None or found.gone == gone

    def test_is_small_for_any_number_of_files(self) -> None:
        assert len(Inventory.of(files(range(5))).text()) < 300
        assert len(Inventory.of(files(range(5_000))).text()) <= len(Inventory.of(files(range(20_000))).text()) < 20_000

    def test_forgets_a_file_that_is_removed(self) -> None:
        known = Inventory.of(files(range(10)))
        for file in files(range(10)):
            known.remove(inventory.id_of(file))
        assert known.text() == Inventory().text()

    @pytest.mark.parametrize(
        "text", ["AAAA", "nonsense!", "//////////////////8=" * 7, Inventory.of(files(range(9))).text()[:-4]]
    )
    def test_refuses_a_text_that_is_none(self, text: str) -> None:
        with pytest.raises(ValueError, match="is no inventory|base64|padding|characters"):
            Inventory(text)

    @pytest.mark.parametrize(
        "other",
        [
            File("a", 1, 2, 0, "e"), File("b", 1, 2, 0, ""), File("a", 2, 2, 0, ""), File("a", 1, 3, 0, ""),
        ],
    )  # fmt: skip
    def test_tells_versions_of_a_file_apart(self, other: object) -> None:
        assert inventory.id_of(other) != inventory.id_of(File("a", 1, 2, 0, ""))


class TestTheCatalogue:
    def test_gives_the_files_in_the_order_in_which_they_came(self) -> None:
        shuffled = list(files(range(100)))
        random.Random(3).shuffle(shuffled)
        with catalogue.Catalogue(shuffled) as found:
            place = (1_700_000_000_000_000_010, "folder/0000031.csv")
            assert [*found.up_to(place), *found.after(place)] == list(files(range(100)))
            assert [file.name for file in found.up_to(place)][-1] == "folder/0000031.csv"
            assert found.count_after(place) == 68
            assert found.first() == next(files(range(1)))

    def test_a_sample_has_the_newest_and_some_of_all_others(self) -> None:
        with catalogue.Catalogue(files(range(1000))) as found:
            numbers = sorted(int(file.name[7:14]) for file in found.sample(10, 20))
        assert numbers[-10:] == list(range(990, 1000))
        assert numbers[0] == 0
        assert 15 <= len(numbers) - 10 <= 20
        with catalogue.Catalogue(files(range(7))) as found:
            assert len(found.sample(10, 20)) == 7

    def test_what_came_too_late_is_left_out(self) -> None:
        with catalogue.Catalogue(files(range(30))) as found:
            assert found.drop(file.name for file in files(range(27, 40))) == 3
            assert found.youngest() == 1_700_000_000_000_000_008

    def test_hundred_thousand_files_take_no_memory(self) -> None:
        tracemalloc.start()
        try:
            with catalogue.Catalogue(files(range(100_000))) as found:
                assert sum(1 for _ in found.after((0, ""))) == 100_000
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 5_000_000
