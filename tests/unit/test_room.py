"""Room is given back in order, the floor is what the keys say, and the reserve is there when it is needed."""

import asyncio
import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from voipfleet import room
from voipfleet.room import GB, Room, floor_of

MB = 1 << 20


@given(st.integers(1, 1 << 50), st.integers(0, 1 << 20), st.integers(0, 99))
def test_the_floor_is_the_smaller_of_the_one_and_the_greater_of_the_others(total, gb, percent):
    floor = floor_of(total, gb, percent)
    assert floor <= gb * GB and floor <= total
    assert floor == gb * GB or floor >= total // 10 - 1
    assert floor_of(total, gb, min(percent + 20, 99)) >= floor


class Disk:
    """A file system of 100 MB: `free` and what is given back are made up, the reserve is a file."""

    def __init__(self, monkeypatch, folder, free):
        self.free, self.asked = free * MB, []
        monkeypatch.setattr(room, "space", lambda _: (100 * MB, self.free))
        self.room = Room(folder, min_gb=5, min_percent=1)
        self.room.givers = [self.giver("first", 6), self.giver("second", 100)]

    def giver(self, name, most):
        async def give(wanted):
            given = min(wanted, most * MB)
            self.asked.append((name, wanted / MB))
            self.free += given
            return given

        return give

    def look(self):
        asyncio.run(self.room.look())


def test_the_first_gives_what_it_has_and_the_next_the_rest(tmp_path, monkeypatch, caplog):
    disk = Disk(monkeypatch, tmp_path, free=2)
    disk.look()
    assert disk.asked == [("first", 8), ("second", 2)] and disk.free == disk.room.floor == 10 * MB
    assert "2 MB free, and 10 are to stay so" in caplog.text and "are dropped for records" in caplog.text
    disk.asked.clear()
    disk.look()
    assert disk.asked == []


def test_the_reserve_is_made_when_there_is_room_and_comes_back(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, tmp_path, free=11)
    disk.look()
    assert not (tmp_path / "ballast").exists() and not disk.room.drop_reserve()
    disk.free = 50 * MB
    disk.look()
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= MB
    assert disk.room.drop_reserve() and not (tmp_path / "ballast").exists()
    disk.look()
    assert (tmp_path / "ballast").exists()


def test_an_emergency_asks_in_the_same_order_and_leaves_the_reserve(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, tmp_path, free=50)
    disk.look()
    assert asyncio.run(disk.room.emergency()) and disk.asked == [("first", 4)]
    assert (tmp_path / "ballast").exists()
    disk.room.givers = []
    assert not asyncio.run(disk.room.emergency())


def test_a_disk_that_takes_no_reserve_is_no_fault(tmp_path, monkeypatch):
    disk = Disk(monkeypatch, tmp_path, free=50)

    def fails(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", fails)
    disk.look()


@pytest.mark.parametrize(("other", "same"), [("sub", True), ("missing", False)])
def test_whether_two_folders_share_a_disk(tmp_path, other, same):
    (tmp_path / "sub").mkdir()
    assert room.same_disk(tmp_path, tmp_path / other) is same
