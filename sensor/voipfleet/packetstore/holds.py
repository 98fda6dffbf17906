"""Calls that are held: copies of their packets that retention never touches, in `holds` beside the segments.

A hold is one pcap a link type, `<uuid>.pcap` (the second and later `<uuid>-2.pcap`, ...), signalling before RTP before
audio, and `<uuid>.json`, which says who holds it since when and why, and which bytes are of which class. It is there
once the JSON is.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from voipfleet.errors import VoipfleetError
from voipfleet.packetstore.reader import Piece, Plan, read
from voipfleet.packetstore.segment import KINDS, PART, PCAP, PCAP_HEAD, pcap_head
from voipfleet.packetstore.writing import sync_folder

FOLDER = "holds"
MAX_SAID = 1 << 20  # bytes of a JSON
_UUID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class Hold:
    """`at`: since when, ns."""

    uuid: bytes
    who: str
    why: str
    at: int
    plan: Plan


def hold(folder: Path, uuid: bytes, plan: Plan, *, who: str, why: str, floor: int = 0) -> Hold:
    """Copy what `plan` says. A call that is held already stays held, with what is more of both.

    Raises VoipfleetError where there is nothing, or no room beside `floor` bytes that stay free; OSError.
    """
    there = get(folder, uuid)
    if there and there.plan.bytes >= plan.bytes:
        return there
    if not plan.pieces:
        raise VoipfleetError(f"{uuid.hex()}: no packets of this call are kept here, so none can be held; ask the host"
                             " that has them")  # fmt: skip
    where = folder / FOLDER
    where.mkdir(mode=0o700, exist_ok=True)
    if shutil.disk_usage(where).free - plan.bytes < floor:
        raise VoipfleetError(f"{uuid.hex()}: {plan.bytes >> 20} MB cannot be held, the disk has no more than what is to"
                             " stay free (autocleanmingb); make room")  # fmt: skip
    links = sorted({piece.linktype for piece in plan.pieces})
    names = [f"{uuid.hex()}{f'-{number}' if number > 1 else ''}{PCAP}" for number in range(1, len(links) + 1)]
    files = [_copy(where / name, linktype, [piece for piece in plan.pieces if piece.linktype == linktype])
             for name, linktype in zip(names, links, strict=True)]  # fmt: skip
    said = {"who": who, "why": why, "at": time.time_ns(), "files": files}
    _put(where / f"{uuid.hex()}.json", json.dumps(said).encode())
    sync_folder(where)
    if (made := get(folder, uuid)) is None:
        raise VoipfleetError(f"{uuid.hex()}: could not be held, its files vanished; try again")
    return made


def get(folder: Path, uuid: bytes) -> Hold | None:
    """The hold of a call, its plan for the reader; None where there is none that can be read."""
    where = folder / FOLDER
    try:
        with (where / f"{uuid.hex()}.json").open("rb") as file:
            said = json.loads(file.read(MAX_SAID))
        pieces = [piece for file in said["files"] for piece in _pieces(where, file)]
        return Hold(uuid, str(said["who"]), str(said["why"]), int(said["at"]), Plan(pieces))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def release(folder: Path, uuid: bytes) -> bool:
    """Give a call back to retention; whether it was held. Raises OSError."""
    where, there = folder / FOLDER, False
    for path in [where / f"{uuid.hex()}.json", *where.glob(f"{uuid.hex()}*")]:
        there |= path.suffix == ".json" and path.exists()
        path.unlink(missing_ok=True)
    return there


def listed(folder: Path) -> list[Hold]:
    """All calls that are held."""
    names = sorted(path.stem for path in (folder / FOLDER).glob("*.json") if _UUID.fullmatch(path.stem))
    return [found for name in names if (found := get(folder, bytes.fromhex(name)))]


def _copy(path: Path, linktype: int, pieces: list[Piece]) -> dict:
    """Write a pcap; what the JSON says of it: name, link type, and bytes of each class in its order."""
    sizes = dict.fromkeys(KINDS, 0)

    def content() -> Iterator[bytes]:
        yield pcap_head(linktype)
        for kind in KINDS:
            for piece, data in read(piece for piece in pieces if piece.kind == kind):
                if data is not None and len(data) == piece.length:
                    sizes[kind] += piece.length
                    yield data

    _put(path, content())
    return {"name": path.name, "linktype": linktype, "sizes": sizes}


def _put(path: Path, content: Iterable[bytes] | bytes) -> None:
    """A file that is whole when it is there."""
    part = path.with_name(path.name + PART)
    part.unlink(missing_ok=True)
    file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(file, "wb") as out:
            out.writelines([content] if isinstance(content, bytes) else content)
            out.flush()
            os.fsync(out.fileno())
        part.rename(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _pieces(where: Path, said: dict) -> Iterator[Piece]:
    """What a file of a hold holds, by class."""
    name, at = str(said["name"]), PCAP_HEAD
    if "/" in name:
        raise ValueError(name)
    for kind in KINDS:
        size = int(said["sizes"].get(kind, 0))
        if size > 0:
            yield Piece(str(where / name), kind, int(said["linktype"]), at, size, 1)
        at += size
