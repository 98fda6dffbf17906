"""Files of blocks: what was written comes back, and what was not is never given out for it."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voipfleet.relay import segments
from voipfleet.relay.books import Amount
from voipfleet.relay.messages import Origin
from voipfleet.relay.segments import FILE_HEAD, DamagedError, Queued, Segment

EPOCH = b"e" * 16
bodies = st.lists(st.binary(max_size=300), min_size=1, max_size=8)


def blocks(contents: list[bytes], first: int = 5) -> list[Queued]:
    out, before = [], Amount(first - 1, 100, 1000)
    for number, content in enumerate(contents, first):
        origin = Origin("host" * (number % 3 + 1), [bytes([number]) * 16])
        out.append(Queued(number, origin, len(content) % 7, content, 1_700_000_000_000_000_000 + number, before))
        before += out[-1].amount
    return out


def write(path, made: list[Queued], cut: int = 0) -> Segment:
    """In two writes."""
    segment = Segment(path, made[0].number, made[0].before)
    for part in (made[:cut], made[cut:]):
        if part:
            segments.append(path, segment.size, EPOCH, part)
            for block in part:
                segment.add(block.packets, len(block.body), block.at, segments.length(block))
    return segment


@given(bodies, st.integers(0, 8))
def test_what_is_written_is_found_and_read(tmp_path_factory, contents, cut):
    path, made = tmp_path_factory.mktemp("s") / "1.packets", blocks(contents)
    written = write(path, made, cut)
    assert path.stat().st_size == written.size
    epoch, found, fault = segments.scan(path)
    assert (epoch, fault, found.first, found.last, found.size) == (EPOCH, "", 5, 4 + len(made), written.size)
    assert found.before == made[0].before
    assert [segments.read(found, block.number) for block in made] == made
    assert found.amount(5, 6) == sum((block.amount for block in made[1:2]), Amount())
    assert found.rows(6) == [(block.packets, len(block.body)) for block in made[1:]]


@settings(max_examples=150)
@given(bodies, st.data())
def test_a_file_that_ends_early_gives_its_whole_blocks(tmp_path_factory, contents, data):
    path, made = tmp_path_factory.mktemp("s") / "1.packets", blocks(contents)
    written = write(path, made)
    size = data.draw(st.integers(0, written.size - 1))
    os.truncate(path, size)
    _, found, fault = segments.scan(path)
    whole = [n for n, end in enumerate([*written.places[1:], written.size], 1) if end <= size]
    at_an_end = size == FILE_HEAD or size in written.places
    assert fault == ("" if at_an_end else "torn")
    assert (found.last - 4 if found else 0) == (whole[-1] if whole else 0)
    if found:  # and goes on from there as if nothing had been
        rest = made[whole[-1] :]
        segments.append(path, found.size, EPOCH, rest)
        assert segments.scan(path)[1].last == made[-1].number


@settings(max_examples=200)
@given(bodies, st.data())
def test_a_changed_byte_is_noticed(tmp_path_factory, contents, data):
    path, made = tmp_path_factory.mktemp("s") / "1.packets", blocks(contents)
    written = write(path, made)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    epoch, found, fault = segments.scan(path)
    good = []
    for block in made:
        if found and epoch == EPOCH and block.number <= found.last:
            try:
                good.append(segments.read(found, block.number))
            except DamagedError as error:
                assert str(path) in str(error)
    assert good == [block for block in made if block in good]  # nothing else than was written
    assert fault in ("damaged", "torn") or epoch != EPOCH or len(good) == len(made) - 1
    if place >= FILE_HEAD and epoch == EPOCH:  # what is before it is there
        hit = sum(start <= place for start in written.places) - 1
        assert good[:hit] == made[:hit]


def test_what_a_write_that_failed_left_is_overwritten(tmp_path):
    path, made = tmp_path / "1.packets", blocks([b"a" * 50, b"b" * 60])
    segment = write(path, made[:1])
    with path.open("ab") as file:
        file.write(b"half a record" * 50)
    segments.append(path, segment.size, EPOCH, made[1:])
    _, found, fault = segments.scan(path)
    assert (found.last, fault, segments.read(found, 6)) == (6, "", made[1])


def test_removing_is_tried_for_all(tmp_path):
    folder, there = tmp_path / "folder", tmp_path / "there"
    folder.mkdir()
    there.write_text("")
    with pytest.raises(OSError):
        segments.remove([folder, tmp_path / "gone", there])
    assert not there.exists()
    segments.remove([tmp_path / "gone"])
