"""What a restart makes of files and books that do not agree."""

import os

from voipfleet.relay import books as book
from voipfleet.relay import segments
from voipfleet.relay.books import DAMAGED, FULL, STOPPED, Amount, Books, Gap
from voipfleet.relay.messages import Origin
from voipfleet.relay.recovery import STATE, UNKNOWN, recover
from voipfleet.relay.segments import Queued

EPOCH, ORIGIN = b"e" * 16, Origin("host", [b"h" * 16])


def put(count: int) -> Amount:
    """Before block `count` + 1: every block has 2 packets and 10 bytes."""
    return Amount(count, 2 * count, 10 * count)


def file(folder, first: int, last: int, epoch: bytes = EPOCH):
    path = folder / f"{first:020d}.packets"
    made = [Queued(n, ORIGIN, 2, bytes(10), 1, put(n - 1)) for n in range(first, last + 1)]
    segments.append(path, segments.FILE_HEAD, epoch, made)
    return path


def state(folder, **fields) -> None:
    book.save(folder / STATE, book.encode(Books(epoch=EPOCH, **fields)))


def check(found, queued: int) -> None:
    """The law, over what was found."""
    there = sum((one.amount(found.books.through) for one in found.files), Amount())
    assert there.blocks == queued
    assert found.books.put == found.books.acknowledged + there + found.books.dropped


def spans(found) -> list[tuple]:
    return [(gap.from_block, gap.to_block, gap.packets, gap.bytes, gap.reason) for gap in found.books.gaps]


def test_an_empty_folder_is_a_new_count(tmp_path):
    found = recover(tmp_path / "new")
    assert (found.files, found.books.last, found.torn, found.damaged) == ([], 0, 0, 0)
    assert found.books.epoch != recover(tmp_path / "new").books.epoch


def test_where_nothing_waits_the_count_begins_anew(tmp_path):
    state(tmp_path, last=9, through=9, sent=9, put=put(9), acknowledged=put(9))
    assert recover(tmp_path).books.epoch != EPOCH


def test_files_and_books_that_agree(tmp_path):
    file(tmp_path, 4, 6)
    file(tmp_path, 7, 9)
    state(tmp_path, last=9, through=4, sent=5, put=put(9), acknowledged=put(4), clean=True)
    found = recover(tmp_path)
    check(found, 5)
    assert (found.books.epoch, found.books.last, spans(found), found.useless) == (EPOCH, 9, [], [])


def test_books_that_are_older_than_the_files(tmp_path):
    """Numbers that may have been given out after a kill are not used again."""
    file(tmp_path, 1, 6)
    state(tmp_path, last=2, sent=20, put=put(2))
    found = recover(tmp_path)
    check(found, 6)
    assert found.books.last == 6 + UNKNOWN and spans(found) == [(7, 6 + UNKNOWN, 0, 0, STOPPED)]


def test_what_was_in_memory_is_in_a_gap(tmp_path):
    file(tmp_path, 1, 3)
    state(tmp_path, last=8, sent=3, put=put(8), clean=True)
    found = recover(tmp_path)
    check(found, 3)
    assert spans(found) == [(4, 8, 10, 50, STOPPED)]


def test_a_file_that_is_gone_is_a_gap_known_to_the_packet(tmp_path):
    file(tmp_path, 1, 3)
    file(tmp_path, 7, 8)
    state(tmp_path, last=8, put=put(8), clean=True)
    found = recover(tmp_path)
    check(found, 5)
    assert spans(found) == [(4, 6, 6, 30, DAMAGED)]


def test_a_torn_file_and_one_of_another_count(tmp_path):
    """B18."""
    torn = file(tmp_path, 1, 3)
    other = file(tmp_path, 9, 9, b"f" * 16)
    (tmp_path / "x.packets").write_bytes(b"something else of some length")
    os.truncate(torn, torn.stat().st_size - 1)
    state(tmp_path, last=3, put=put(3), clean=True)
    found = recover(tmp_path)
    check(found, 2)
    assert (found.torn, found.damaged) == (1, 1)
    assert set(found.useless) == {other, tmp_path / "x.packets"}
    assert spans(found) == [(3, 3, 2, 10, STOPPED)]


def test_gaps_that_are_known_are_no_new_ones(tmp_path):
    file(tmp_path, 1, 4)  # of which 3 and 4 were dropped, and then the file could not be removed
    gap = Gap(3, 5, 6, 30, FULL, put(2))
    state(tmp_path, last=5, put=put(5), dropped=gap.amount, gaps=[gap], clean=True)
    found = recover(tmp_path)
    check(found, 2)
    assert spans(found) == [(3, 5, 6, 30, FULL)] and found.books.last == 5


def test_a_file_that_a_failed_write_left_is_not_needed(tmp_path):
    """Its blocks were dropped afterwards."""
    left = file(tmp_path, 2, 3)
    file(tmp_path, 5, 6)
    gap = Gap(1, 4, 8, 40, FULL, put(0))
    state(tmp_path, last=6, put=put(6), dropped=gap.amount, gaps=[gap], clean=True)
    found = recover(tmp_path)
    check(found, 2)
    assert found.useless == [left] and [one.first for one in found.files] == [5]


def test_without_books_the_files_say_what_they_can(tmp_path):
    """And numbers that a receiver may know are not used again."""
    file(tmp_path, 6, 9)
    (tmp_path / STATE).write_text("nonsense")
    found = recover(tmp_path)
    check(found, 4)
    assert (found.damaged, found.books.epoch, found.books.last, found.books.through) == (1, EPOCH, 9 + UNKNOWN, 5)
    assert found.books.acknowledged == put(5) and spans(found) == [(10, 9 + UNKNOWN, 0, 0, STOPPED)]


def test_what_is_acknowledged_is_not_sent_again(tmp_path):
    old = file(tmp_path, 1, 3)
    file(tmp_path, 4, 6)
    state(tmp_path, last=6, through=5, sent=6, put=put(6), acknowledged=put(5))
    found = recover(tmp_path)
    check(found, 1)
    assert found.useless == [old]
