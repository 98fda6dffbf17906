"""Staging: whatever is staged in whatever blocks comes out by key, complete, byte for byte, in order of time."""

import io

import dpkt
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support import pools
from support.pools import START, Row
from voipfleet.packetstore import segment
from voipfleet.packetstore.staging import DROP, KEEP, WAIT, Open

rows = st.builds(
    Row, key=st.sampled_from([0, 1, 2, 7 << 40, (7 << 40) + 1, 2**64 - 1]), ts=st.integers(START, START + 50),
    data=st.binary(max_size=40) | st.sampled_from([b"a" * 20, b"b" * 20]), wirelen=st.integers(40, 100),
)  # fmt: skip
blocks = st.lists(st.lists(rows, min_size=1, max_size=30), min_size=1, max_size=6)


def staged(made: list[list[Row]]) -> Open:
    opened = Open("audio", 1, 0.0)
    for block in made:
        sizes = np.array([len(row.data) for row in block], np.int64)
        columns = [np.array([getattr(row, name) for row in block], kind)
                   for name, kind in (("key", np.uint64), ("ts", np.int64), ("wirelen", np.int64))]  # fmt: skip
        data = np.frombuffer(b"".join(row.data for row in block) or b"-", np.uint8)
        opened.add(columns[0], columns[1], np.cumsum(sizes) - sizes, sizes, columns[2], data)
    return opened


def seal(opened: Open, verdict=None, most: int = 1 << 30):
    return opened.seal(verdict, most, lambda size: np.empty(size, np.uint8))


def by_key(made: list[list[Row]]) -> dict[int, list[tuple[int, int, bytes]]]:
    """What is to come out; of one time, as it came in."""
    out: dict[int, list] = {}
    for row in sorted((row for block in made for row in block), key=lambda row: row.ts):
        out.setdefault(row.key, []).append((row.ts, row.wirelen, row.data))
    return out


def content(sealed) -> dict[int, list[tuple[int, int, bytes]]]:
    index, image = segment.decode_index(sealed.index), sealed.memory[: sealed.size].tobytes()
    assert index.entries["key"].tolist() == sorted(set(index.entries["key"].tolist()))
    assert index.entries["length"].sum() + segment.PCAP_HEAD == len(image)
    found = {key: pools.records(image[at : at + size]) for key, at, size in index.entries.tolist()}
    assert index.packets == sealed.packets == sum(map(len, found.values()))
    return found


@settings(max_examples=150)
@given(blocks)
def test_everything_comes_out_by_key_and_in_order(made):
    sealed, carried, dropped = seal(staged(made))
    assert carried is None and dropped == 0
    assert content(sealed) == by_key(made)
    everything = [row for block in made for row in block]
    assert (sealed.first, sealed.last) == (min(r.ts for r in everything), max(r.ts for r in everything))


@settings(max_examples=150)
@given(blocks, st.dictionaries(st.sampled_from([0, 1, 2, 7 << 40, 2**64 - 1]), st.sampled_from([KEEP, WAIT, DROP])),
       st.booleans())  # fmt: skip
def test_what_waits_is_in_the_next_segment_and_what_is_dropped_is_counted(made, said, more):
    wanted = by_key(made)
    asked = []

    def verdict(keys):
        asked.extend(keys.tolist())
        return np.array([said.get(key, KEEP) for key in keys.tolist()], np.int8)

    sealed, carried, dropped = seal(staged(made), verdict)
    assert asked == sorted(wanted)
    found = content(sealed) if sealed else {}
    assert found == {key: run for key, run in wanted.items() if said.get(key, KEEP) == KEEP}
    assert dropped == sum(len(run) for key, run in wanted.items() if said.get(key, KEEP) == DROP)
    waits = {key: run for key, run in wanted.items() if said.get(key, KEEP) == WAIT}
    assert (carried is not None) == bool(waits)
    if carried:
        assert carried.packets == sum(map(len, waits.values()))
        assert carried.size == sum(16 + len(data) for run in waits.values() for _, _, data in run)
        if more:  # and once more
            carried = seal(carried, lambda keys: np.full(len(keys), WAIT, np.int8))[1]
        assert content(seal(carried)[0]) == waits


def test_of_what_waits_beyond_the_bound_the_latest_stays():
    made = [[Row(key, START + key, bytes(84)) for key in range(10) for _ in range(3)]]
    _, carried, dropped = seal(staged(made), lambda keys: np.full(len(keys), WAIT, np.int8), most=1000)
    assert set(content(seal(carried)[0])) == {7, 8, 9} and dropped == 21


@given(blocks)
def test_a_segment_is_a_pcap_that_others_read(made):
    sealed, _, _ = seal(staged(made))
    read = dpkt.pcap.Reader(io.BytesIO(sealed.memory[: sealed.size].tobytes()))
    assert read.datalink() == 1
    found = [data for _, data in read]
    assert sorted(found) == sorted(row.data for block in made for row in block)


def test_many_packets_of_few_lengths_and_equal_upper_bits_of_keys():
    rng = np.random.default_rng(1)
    keys = (np.uint64(9) << np.uint64(30)) + rng.integers(0, 50, 20_000).astype(np.uint64)  # differ in low bits only
    made = [[Row(int(key), START + n, bytes([n & 255]) * (160 + n % 3)) for n, key in enumerate(keys)]]
    assert content(seal(staged(made))[0]) == by_key(made)
