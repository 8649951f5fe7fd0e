"""A cache that is bounded by bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exeunt.cache import ENTRY_BYTES, ByteCache


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5000)), max_size=60))
def test_what_is_kept_has_room_and_the_newest_is_kept(puts: list[tuple[int, int]]) -> None:
    cache: ByteCache[int, int] = ByteCache(10_000)
    for key, size in puts:
        cache.put(key, size, size)
        assert cache.get(key) == size
        kept = [found for known in range(21) if (found := cache.get(known)) is not None]
        assert len(kept) == len(cache)
        assert sum(kept) + ENTRY_BYTES * len(kept) <= 10_000


def test_what_was_not_used_for_the_longest_time_goes_first() -> None:
    cache: ByteCache[str, int] = ByteCache(3 * ENTRY_BYTES)
    for name in "abc":
        cache.put(name, 1, 0)
    assert cache.get("a") == 1
    cache.put("d", 1, 0)
    assert [name for name in "abcd" if cache.get(name)] == ["a", "c", "d"]


def test_one_that_is_too_large_is_kept_until_the_next_comes() -> None:
    cache: ByteCache[str, int] = ByteCache(1000)
    cache.put("huge", 1, 1_000_000)
    assert cache.get("huge") == 1
    cache.put("small", 2, 1)
    assert (cache.get("huge"), cache.get("small")) == (None, 2)
