"""Where blocks go, when they are safe, and that none is taken twice."""

import asyncio

import pytest
from voipfleet.relay import codec
from voipfleet.relay.hub import Hub, Output
from voipfleet.relay.messages import Heard, Origin

OWN, SOURCE, OTHER, EPOCH = b"o" * 16, b"s" * 16, b"t" * 16, b"e" * 16


class Buffer:
    """Blocks with numbers; `safe` through which they are on disk."""

    def __init__(self):
        self.blocks, self.safe = [], 0

    def put(self, origin, packets, body):
        self.blocks.append((origin, packets, body))
        return len(self.blocks)

    async def wait_safe(self, after):
        while self.safe <= after:
            await asyncio.sleep(0.001)
        return self.safe


class Case:
    def __init__(self, outputs=0, analyses=True, cursors=None):
        self.handed, self.noted, self.fine = [], [], True
        self.buffers = [Buffer() for _ in range(outputs)]
        self.hub = Hub(OWN, "here", [Output("x", buffer) for buffer in self.buffers],
                       analyse=self.hand if analyses else None, note=lambda cursors: self.noted.append(dict(cursors)),
                       commit=self.commit, cursors=cursors or {})  # fmt: skip

    async def hand(self, handed):
        self.handed.append(handed)

    async def commit(self):
        return self.fine

    def run(self, work):
        async def main():
            tasks = [asyncio.create_task(self.hub.confirm())]
            tasks += [asyncio.create_task(self.hub.watch(output)) for output in self.hub.outputs]
            try:
                await asyncio.wait_for(work(), 5)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(main())

    async def put(self, number, epoch=EPOCH, hops=(SOURCE,), source=SOURCE):
        return await self.hub.put(source, Origin("branch", list(hops), epoch, number), 3, codec.dropped(3))


def test_an_analysed_block_is_safe_once_its_records_are_committed():
    case = Case()

    async def work():
        one, two = await case.put(1), await case.put(2)
        case.fine = False
        case.hub.analysed(1)
        await asyncio.sleep(0.1)
        assert not one.done()
        case.fine = True
        await one
        assert not two.done()
        case.hub.analysed(2)
        await two

    case.run(work)
    assert [handed.seq for handed in case.handed] == [1, 2]
    assert case.noted == [{(SOURCE, EPOCH): 1}, {(SOURCE, EPOCH): 2}]


def test_a_relayed_block_is_safe_once_it_is_on_disk_or_further():
    case = Case(outputs=2, analyses=False)

    async def work():
        safe = await case.put(7)
        case.buffers[0].safe = 1
        await asyncio.sleep(0.05)
        assert not safe.done()
        case.buffers[1].safe = 1
        await safe

    case.run(work)
    ((origin, packets, _),) = case.buffers[0].blocks
    assert origin == Origin("branch", [SOURCE, OWN], EPOCH, 7) and packets == 3
    assert not case.noted and not case.handed


def test_what_was_taken_before_is_not_taken_again_by_whatever_way_it_comes():
    case = Case(cursors={(SOURCE, EPOCH): 4})

    async def work():
        for number in (3, 4):
            assert (await case.put(number)).done()
        await case.put(5)
        assert (await case.put(5, hops=(SOURCE, OTHER), source=OTHER)).done()
        await case.put(5, epoch=b"f" * 16)  # the capturing host has started anew
        await case.put(5, hops=(OTHER,), source=OTHER)

    case.run(work)
    assert len(case.handed) == 3 and case.hub.repeated == 3


def test_own_blocks_have_names_that_hold_for_every_destination():
    case = Case(outputs=2, analyses=False)

    async def work():
        for _ in range(3):
            case.hub.own(codec.dropped(0))

    case.run(work)
    first, second = ([origin for origin, *_ in buffer.blocks] for buffer in case.buffers)
    assert first == second and [origin.number for origin in first] == [1, 2, 3]
    assert {origin.epoch for origin in first} != {b""} and first[0].hops == [OWN]


def test_what_an_origin_says_of_its_clock_waits_for_the_blocks_before_it():
    case = Case(outputs=1)

    async def work():
        await case.put(1)
        await case.hub.heard(SOURCE, Heard(Origin("branch", [SOURCE]), 1000))
        case.hub.own(codec.dropped(0))
        case.hub.own_heard(2000)

    case.run(work)
    (output,) = case.hub.outputs
    assert output.told(0) == []
    assert [(heard.origin.hops, heard.clock) for heard in output.told(1)] == [([SOURCE, OWN], 1000)]
    assert [(heard.origin.hops, heard.clock) for heard in output.told(2)] == [([OWN], 2000)]
    assert output.told(2) == []
    assert [(handed.seq, handed.sensor, handed.clock) for handed in case.handed] == [(1, "branch", 0),
                                                                                    (0, "branch", 1000)]  # fmt: skip


@pytest.mark.parametrize(("seconds", "shift"), [(None, 0), (0.004, 0), (-0.049, 0), (2.5, 2_500_000_000)])
def test_clocks_that_are_off_are_corrected_for_the_analysis(seconds, shift):
    case = Case(outputs=1)
    case.hub.offsets[OTHER] = lambda: seconds

    async def work():
        await case.hub.put(OTHER, Origin("branch", [SOURCE, OTHER], EPOCH, 1, 1000), 1, codec.dropped(0))

    case.run(work)
    assert [(handed.shift, handed.offset) for handed in case.handed] == [
        (shift + 1_000_000 * bool(shift), (seconds or 0) * 1000 + 1)
    ]
    assert case.buffers[0].blocks[0][0].offset == round((seconds or 0) * 1e6) + 1000


def test_what_a_source_lost_are_drops_for_the_analysis():
    case = Case(outputs=1)
    case.run(lambda: case.hub.lost(SOURCE, "branch", 500))
    assert codec.unpack(case.handed[0].body, max_bytes=100).drops == 500
    assert case.buffers[0].blocks[0][2] == case.handed[0].body
