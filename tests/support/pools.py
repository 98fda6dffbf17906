"""Stores of packets for tests: packets as rows, a store that is filled with them, and what is in its files."""

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from voipfleet.packetstore import segment
from voipfleet.packetstore.retention import Limits
from voipfleet.packetstore.staging import KEEP
from voipfleet.packetstore.writer import PacketStore, StoreSettings

START = 1_700_000_000_000_000_000  # ns


class Row(NamedTuple):
    """One packet that is given to a store."""

    key: int
    ts: int
    data: bytes
    wirelen: int = 0


def all_kept(keys: np.ndarray) -> np.ndarray:
    return np.full(len(keys), KEEP, np.int8)


def store(folder: Path, verdict=all_kept, **settings) -> PacketStore:
    settings.setdefault("limits", Limits())
    return PacketStore(StoreSettings(folder, **settings), verdict=verdict)


def give(pool: PacketStore, kind: str, rows: list[Row], linktype: int = 1) -> None:
    """As a block, with bytes between the packets that belong to none."""
    data = b"".join(row.data + b"##" for row in rows)
    sizes = np.array([len(row.data) for row in rows], np.int64)
    ts, wirelen = (np.array([getattr(row, name) for row in rows], np.int64) for name in ("ts", "wirelen"))
    keys, offset = np.array([row.key for row in rows], np.uint64), np.cumsum(sizes + 2) - sizes - 2
    pool.add(kind, linktype, keys, ts, offset, sizes, wirelen, np.frombuffer(data, np.uint8))


def fill(folder: Path, kind: str, rows: list[Row], linktype: int = 1) -> None:
    """A store with these packets, closed again."""
    pool = store(folder)
    give(pool, kind, rows, linktype)
    pool.close(time.monotonic() + 10)


def law(counters: dict[str, int]) -> bool:
    """Whether every packet that was given is accounted for."""
    parts = ("stored_packets_total", "staged_packets", "waiting_packets", "dropped_packets_total",
             "failed_packets_total", "stranger_packets_total")  # fmt: skip
    return counters["pool_given_packets_total"] == sum(counters[f"pool_{part}"] for part in parts)


def runs(pcap: Path) -> dict[int, bytes]:
    """What each key has in a segment, by its index."""
    index = segment.decode_index(pcap.with_suffix(segment.IDX).read_bytes())
    data = pcap.read_bytes()
    assert index.entries["length"].sum() + segment.PCAP_HEAD == len(data)
    return {int(key): data[at : at + size] for key, at, size in index.entries.tolist()}


def records(run: bytes) -> list[tuple[int, int, bytes]]:
    """(ns, length on the wire, data) of the records of a run."""
    found, at = [], 0
    while at < len(run):
        seconds, ns, size, wire = np.frombuffer(run, "<u4", 4, at).tolist()
        found.append((seconds * 1_000_000_000 + ns, wire, run[at + 16 : at + 16 + size]))
        at += 16 + size
    assert at == len(run)
    return found
