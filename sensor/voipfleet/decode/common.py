"""The packets that nearly all packets are: Ethernet, at most one 802.1Q tag, IPv4 without options or IPv6 without
extensions, UDP. Whatever is not exactly that is left to frames.py, which knows every case.
"""

import numpy as np

from voipfleet.capture.block import ETHERNET, Block
from voipfleet.decode.columns import COLUMNS, MAPPED, Packets, be, fields, rows
from voipfleet.decode.walk import VXLAN

_HEAD = 48  # bytes from the IP header on that a row holds: IPv6 and UDP
_IPV4 = fields(_HEAD, version=("u1", 0), total=(">u2", 2), fragment=(">u2", 6), protocol=("u1", 9), src=(">u4", 12),
               dst=(">u4", 16), sport=(">u2", 20), dport=(">u2", 22), size=(">u2", 24))  # fmt: skip
_IPV6 = fields(_HEAD, version=("u1", 0), total=(">u2", 4), protocol=("u1", 6), src_hi=(">u8", 8), src_lo=(">u8", 16),
               dst_hi=(">u8", 24), dst_lo=(">u8", 32), sport=(">u2", 40), dport=(">u2", 42),
               size=(">u2", 44))  # fmt: skip


def parse(block: Block) -> tuple[Packets | None, np.ndarray]:
    """(the common packets, whether each packet of the block is among them); None where none is."""
    handled = np.zeros(len(block), bool)
    if block.linktype != ETHERNET or not len(block):
        return None, handled
    data = block.data
    deep = block.offset + 18 + _HEAD <= len(data)  # whole rows only: the last packet of a block may be too near its end
    index = np.nonzero((block.caplen >= 18) & deep)[0]
    offset = block.offset[index]
    kind, at = be(data, offset + 12, 2), offset + 14
    tagged = np.nonzero(kind == 0x8100)[0]
    if len(tagged):
        kind[tagged] = be(data, offset[tagged] + 16, 2)
        at[tagged] += 4
    room = offset + block.caplen[index] - at
    out = {name: np.zeros(len(block), np.uint64 if name[3:] in ("_hi", "_lo") else np.int64) for name in COLUMNS}
    for family, number in ((_ipv4, 0x0800), (_ipv6, 0x86DD)):
        mine = np.nonzero(kind == number)[0]
        if len(mine):
            family(data, at[mine], room[mine], index[mine], out, handled)
    tunnelled = out["dport"] == VXLAN
    if tunnelled.any():  # another frame lies within
        handled &= ~tunnelled
    if not handled.any():
        return None, handled
    out["ts"] = block.ts
    columns = out.values() if handled.all() else (column[handled] for column in out.values())
    return Packets(data, *columns, {}), handled


def _ipv4(data, at, room, index, out, handled) -> None:
    r = rows(data, at, _IPV4)
    inside = np.minimum(r["total"].astype(np.int64), room) - 20
    good = (r["version"] == 0x45) & (r["protocol"] == 17) & (r["fragment"] & 0x3FFF == 0)
    good &= (inside >= 8) & (r["size"] >= 8)
    r, inside, at, index = _only(good, r, inside, at, index)
    out["src_lo"][index], out["dst_lo"][index] = (
        r["src"].astype(np.uint64) | MAPPED,
        r["dst"].astype(np.uint64) | MAPPED,
    )
    out["ip"][index] = at
    _udp(r, inside, at + 28, index, out, handled)


def _ipv6(data, at, room, index, out, handled) -> None:
    r = rows(data, at, _IPV6)
    inside = np.minimum(r["total"].astype(np.int64) + 40, room) - 40
    good = (r["version"] >> 4 == 6) & (r["protocol"] == 17) & (inside >= 8) & (r["size"] >= 8)
    r, inside, at, index = _only(good, r, inside, at, index)
    for name in ("src_hi", "src_lo", "dst_hi", "dst_lo"):
        out[name][index] = r[name]
    out["ip"][index] = at
    _udp(r, inside, at + 48, index, out, handled)


def _only(good: np.ndarray, *columns: np.ndarray):
    return columns if good.all() else tuple(column[good] for column in columns)


def _udp(r, inside, start, index, out, handled) -> None:
    handled[index] = True
    out["start"][index] = start
    out["length"][index] = np.minimum(r["size"].astype(np.int64), inside) - 8
    out["sport"][index], out["dport"][index] = r["sport"], r["dport"]
