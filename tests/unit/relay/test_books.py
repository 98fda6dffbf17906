"""Which blocks were dropped, how much that was, and who knows of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from voipfleet.relay import books as module
from voipfleet.relay.books import DAMAGED, FULL, Amount, Books, Gap

NONE = Amount()


def books(put: int, **fields) -> Books:
    return Books(epoch=b"e" * 16, last=put, put=Amount(put, put, 10 * put), **fields)


def lose(where: Books, first: int, last: int, reason: str = FULL) -> None:
    rows = [(1, 10)] * (last - first + 1)
    where.lose(first, rows, Amount(first - 1, first - 1, 10 * (first - 1)), reason)


def spans(where: Books) -> list[tuple[int, int, str]]:
    return [(gap.from_block, gap.to_block, gap.reason) for gap in where.gaps]


def test_a_gap_grows_until_somebody_was_told():
    made = books(20)
    lose(made, 1, 3)
    lose(made, 4, 4)
    assert spans(made) == [(1, 4, FULL)] and made.gaps[0].amount == made.dropped == Amount(4, 4, 40)
    assert [gap.amount for gap in made.show()] == [Amount(4, 4, 40)]
    lose(made, 5, 6)
    assert spans(made) == [(1, 4, FULL), (5, 6, FULL)]
    lose(made, 7, 7, DAMAGED)
    lose(made, 10, 11)
    assert spans(made)[2:] == [(7, 7, DAMAGED), (10, 11, FULL)]
    lose(made, 8, 8)
    assert spans(made)[3:] == [(8, 8, FULL), (10, 11, FULL)]
    assert made.gaps[3].before == Amount(7, 7, 70)


def test_blocks_that_the_receiver_may_have_are_no_part_of_a_greater_gap():
    made = books(9, sent=4)
    lose(made, 3, 8)
    assert spans(made) == [(3, 3, FULL), (4, 4, FULL), (5, 8, FULL)]
    made.delivered(4)  # they were not lost after all
    assert spans(made) == [(5, 8, FULL)]
    assert (made.dropped, made.acknowledged) == (Amount(4, 4, 40), Amount(2, 2, 20))


def test_a_gap_that_was_told_stays_one():
    made = books(9, sent=4)
    lose(made, 3, 4)
    made.show()
    made.delivered(4)
    assert made.dropped == Amount(2, 2, 20) and made.acknowledged == NONE


@given(st.integers(0, 1 << 40), st.lists(st.integers(1, 50), max_size=5))
def test_the_file_brings_everything_back(tmp_path_factory, last, firsts):
    made, path = books(last), tmp_path_factory.mktemp("b") / "state"
    for first in firsts:
        made.lose_range(first, Amount(1, 2, 3), Amount(first - 1, 0, 0), FULL)
    module.save(path, module.encode(made))
    assert module.load(path) == made
    assert [gap.from_block for gap in made.gaps] == sorted(firsts)
    assert made.dropped.blocks == len(firsts)


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_damaged_file_is_refused(tmp_path_factory, place, bit):
    path = tmp_path_factory.mktemp("b") / "state"
    content = bytearray(module.encode(books(7, gaps=[Gap(1, 2, 3, 4, FULL, NONE)])))
    place %= len(content)
    content[place] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        module.load(path)


def test_without_a_file_there_are_no_books(tmp_path):
    assert module.load(tmp_path / "state") is None
    (tmp_path / "state").write_bytes(b"")
    with pytest.raises(ValueError, match="damaged"):
        module.load(tmp_path / "state")
