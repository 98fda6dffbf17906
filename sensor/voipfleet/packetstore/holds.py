"""Calls that are held: copies of their packets that retention never touches, in `holds` beside the segments.

A hold is one pcap a link type, `<uuid>.pcap` (the second and later `<uuid>-2.pcap`, ...), signalling before RTP before
audio, and `<uuid>.json`, which says who holds it since when and why, and which bytes are of which class. Who holds a
call again adds pcaps with what is new. What the JSON names is held, and nothing else is.
"""

import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count, pairwise
from pathlib import Path

import numpy as np

from voipfleet.capture import chain
from voipfleet.errors import VoipfleetError
from voipfleet.packetstore.reader import Piece, Plan, missing_words, read
from voipfleet.packetstore.segment import KINDS, PCAP, PCAP_HEAD, pcap_head
from voipfleet.whole import put, sync_folder

FOLDER = "holds"
MAX_SAID = 1 << 20  # bytes of a JSON
_UUID = re.compile("[0-9a-f]{32}")
_FILE = re.compile(r"([0-9a-f]{32})(-[0-9]{1,9})?(\.pcap|\.json)(\.part)?")


@dataclass(frozen=True)
class Hold:
    """`at`: since when, ns. `missing`: a sentence about what could not be copied, empty if all was."""

    uuid: bytes
    who: str
    why: str
    at: int
    plan: Plan
    missing: str = ""


def hold(folder: Path, uuid: bytes, plan: Plan, *, who: str, why: str, floor: int = 0) -> Hold:
    """Copy what `plan` says. A call that is held already has what is in either of both then, each packet once.

    For one caller at a time. Raises VoipfleetError where there is nothing, or no room beside `floor` bytes that stay
    free; OSError.
    """
    where, there = folder / FOLDER, get(folder, uuid)
    if there and not plan.pieces:
        return there
    where.mkdir(mode=0o700, exist_ok=True)
    if shutil.disk_usage(where).free - plan.bytes < floor:
        raise VoipfleetError(f"{uuid.hex()}: {plan.bytes >> 20} MB cannot be held, the disk has no more than what is to"
                             " stay free (autocleanmingb); make room")  # fmt: skip
    had = list(_said(where, uuid)["files"]) if there else []
    copy = _Copy(plan, there.plan if there else Plan())
    files = []
    try:
        names = (name for name in _names(uuid) if not (where / name).exists())
        for linktype in sorted({piece.linktype for piece in plan.pieces}):
            files.append({"name": next(names), "linktype": linktype})
            files[-1]["sizes"] = copy.into(where / files[-1]["name"], linktype)
        files = _without_empty(where, files)
        if not files and there:
            return there
        if not files:
            raise VoipfleetError(f"{uuid.hex()}: no packets of this call are kept here, so none can be held; ask the"
                                 " host that has them")  # fmt: skip
        missing = "; ".join(dict.fromkeys(filter(None, (there.missing if there else "", copy.missing))))
        said = {"who": who, "why": why, "at": time.time_ns(), "files": had + files, "missing": missing}
        put(where / f"{uuid.hex()}.json", json.dumps(said).encode())
    except OSError:
        for file in files:
            with suppress(OSError):
                (where / file["name"]).unlink(missing_ok=True)
        raise
    sync_folder(where)
    if (made := get(folder, uuid)) is None:
        raise VoipfleetError(f"{uuid.hex()}: could not be held, its files vanished; try again")
    return made


def get(folder: Path, uuid: bytes) -> Hold | None:
    """The hold of a call, its plan for the reader; None where there is none that can be read."""
    where = folder / FOLDER
    try:
        said = _said(where, uuid)
        pieces = [piece for file in said["files"] for piece in _pieces(where, file)]
        pieces.sort(key=lambda piece: KINDS.index(piece.kind))
        who, why, missing = (str(said.get(name, "")) for name in ("who", "why", "missing"))
        return Hold(uuid, who, why, int(said["at"]), Plan(pieces), missing)
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


def recover(folder: Path) -> int:
    """Remove what a kill has left of holds that were being made or released; how many files that were. Of a hold whose
    JSON is there and cannot be read, nothing is removed. For a pool in which nobody holds. Raises OSError."""
    where, removed = folder / FOLDER, 0
    for path in sorted(where.glob("*")):
        if not (name := _FILE.fullmatch(path.name)) or (name[3] == ".json" and not name[4]):
            continue
        try:
            named = {str(file["name"]) for file in _said(where, bytes.fromhex(name[1]))["files"]}
        except FileNotFoundError:
            named = set()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            named = {path.name}
        if name[4] or path.name not in named:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


# -- inside ----------------------------------------------------------------------------------------------


class _Copy:
    """What `plan` has and `had` has not, into files. A packet that the plan has twice is there twice."""

    def __init__(self, plan: Plan, had: Plan):
        self._plan, self._bad, self._gone = plan, plan.damaged, plan.gone
        self._had: Counter[bytes] = Counter()
        for piece, data in read(had.pieces):
            self._had.update(_print(piece, record) for record in _records(data or b""))

    def into(self, path: Path, linktype: int) -> dict[str, int]:
        """Write a pcap with those of a link type; bytes of each class in its order."""
        sizes = dict.fromkeys(KINDS, 0)

        def content() -> Iterator[bytes]:
            yield pcap_head(linktype)
            for kind in KINDS:
                some = (piece for piece in self._plan.pieces if (piece.kind, piece.linktype) == (kind, linktype))
                for piece, data in read(some):
                    new = self._new(piece, data)
                    sizes[kind] += len(new)
                    yield new

        put(path, content())
        return sizes

    def _new(self, piece: Piece, data: bytes | None) -> bytes:
        if data is None:
            self._gone += 1
            return b""
        whole = data[: _end(data)]
        self._bad += len(whole) != piece.length
        if not self._had:
            return whole
        new = []
        for record in _records(whole):
            which = _print(piece, record)
            if self._had[which] > 0:
                self._had[which] -= 1
            else:
                new.append(record)
        return b"".join(new)

    @property
    def missing(self) -> str:
        return missing_words(self._bad, self._gone)


def _end(data: bytes) -> int:
    """Where its whole records end."""
    return chain.starts(np.frombuffer(data, np.uint8), "<")[1]


def _records(data: bytes) -> Iterator[bytes]:
    starts, end = chain.starts(np.frombuffer(data, np.uint8), "<")
    return (data[at:stop] for at, stop in pairwise([*starts.tolist(), end]))


def _print(piece: Piece, record: bytes) -> bytes:
    return blake2b(b"%d %s " % (piece.linktype, piece.kind.encode()) + record, digest_size=16).digest()


def _names(uuid: bytes) -> Iterator[str]:
    return (f"{uuid.hex()}{f'-{number}' if number > 1 else ''}{PCAP}" for number in count(1))


def _without_empty(where: Path, files: list[dict]) -> list[dict]:
    for file in files:
        if not any(file["sizes"].values()):
            (where / file["name"]).unlink(missing_ok=True)
    return [file for file in files if any(file["sizes"].values())]


def _said(where: Path, uuid: bytes) -> dict:
    with (where / f"{uuid.hex()}.json").open("rb") as file:
        return json.loads(file.read(MAX_SAID))


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
