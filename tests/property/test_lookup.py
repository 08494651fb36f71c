"""Tables of keys find what a scan finds, after any edits, whether they were made at once or one by one."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from treekem.lookup import Lookup

Entry = tuple[bytes, int]


def check(lookup: Lookup, entries: Counter[Entry], names: list[bytes]) -> None:
    for name in names:
        found = Counter(place for place in lookup.candidates(name) if (name, place) in entries)
        assert found == Counter({place: count for (key, place), count in entries.items() if key == name})


@pytest.mark.parametrize("size", [0, 1, 100, 1000, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("n_names", [3, 40_000])
def test_a_table_equals_a_scan_after_random_edits(size: int, n_names: int) -> None:
    random = Random(size)
    names = [random.randbytes(random.choice((0, 4, 32))) for _ in range(n_names)]
    held = [(random.choice(names), place) for place in random.sample(range(2**40), size)]
    lookup, entries = Lookup.of([key for key, _ in held], [place for _, place in held]), Counter(held)
    one_by_one = Lookup().replaced([], held)
    sample = random.sample(names, min(50, n_names))
    for table in (lookup, one_by_one):
        check(table, entries, sample)
    for _ in range(20):
        before, removed = lookup, random.sample(held, min(len(held), random.randrange(300)))
        added = [(random.choice(names), random.randrange(2**40)) for _ in range(random.randrange(300))]
        kept = entries.copy()
        lookup = lookup.replaced(removed, added)
        entries = entries - Counter(removed) + Counter(added)
        held = list(entries.elements())
        check(lookup, entries, sample[:10])
        check(before, kept, sample[:3])


def test_an_entry_that_is_not_there_cannot_be_removed() -> None:
    lookup = Lookup.of([b"key"], [7])
    with pytest.raises(KeyError):
        lookup.replaced([(b"key", 8)], [])
    assert list(lookup.candidates(b"key")) == [7]
