"""What a restart finds on disk: files and books brought into agreement, to the packet. Blocking I/O."""

import contextlib
import logging
from dataclasses import dataclass, field
from pathlib import Path

from voipfleet.relay import segments
from voipfleet.relay.books import DAMAGED, STOPPED, Amount, Books, load
from voipfleet.relay.segments import Segment

log = logging.getLogger("voipfleet.packets")
STATE = "state"
UNKNOWN = 1 << 32  # numbers that are passed over after a kill: nobody knows which of them were given out


@dataclass(slots=True)
class Found:
    """`files` wait to be sent, in their order; `useless` can be removed once the books are saved."""

    books: Books = field(default_factory=Books)
    files: list[Segment] = field(default_factory=list)
    useless: list[Path] = field(default_factory=list)
    torn: int = 0  # files that end within a record
    damaged: int = 0  # files, the books' among them, that hold something else than was written


def recover(folder: Path) -> Found:
    """Everything that waits in the folder (made where there is none). Raises OSError where that cannot be used."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found, books = Found(), None
    try:
        books = load(folder / STATE)
    except ValueError:
        found.damaged += 1
    for path in sorted(folder.glob(f"*{segments.SUFFIX}")):
        epoch, segment, fault = b"", None, "damaged"
        with contextlib.suppress(OSError):
            epoch, segment, fault = segments.scan(path)
        found.torn += fault == "torn"
        found.damaged += fault == "damaged"
        if segment and not books:
            books = _without_books(epoch, segment)
        if segment and epoch == books.epoch:
            found.files.append(segment)
        else:
            found.useless.append(path)
    if books:
        _trim(found, books)
        _agree(found, books)
        if found.files or books.gaps:
            found.books = books
        else:
            log.debug("nothing waits in %s: a new count begins", folder)
    return found


def _without_books(epoch: bytes, first: Segment) -> Books:
    """All before the first block that is there counts as acknowledged."""
    before = first.first - 1
    return Books(epoch, before, before, before, first.before, first.before)


def _trim(found: Found, books: Books) -> None:
    """Files without what is in a gap already, is acknowledged, or is in a later file too."""
    found.files.sort(key=lambda segment: segment.first)
    for segment, after in zip(found.files, found.files[1:], strict=False):
        segment.cut(after.first - 1)
    for gap in books.gaps:
        for segment in found.files:
            if gap.from_block <= segment.last and segment.first <= gap.to_block:
                segment.cut(gap.from_block - 1)
    wanted = [segment for segment in found.files if segment.places and segment.last > books.through]
    found.useless += [segment.path for segment in found.files if segment not in wanted]
    found.files = wanted


def _agree(found: Found, books: Books) -> None:
    """Whatever is neither acknowledged, nor on disk, nor in a gap, is a gap."""
    ahead = [gap for gap in books.gaps if gap.to_block > books.through]
    known = [(gap.from_block, gap.to_block, gap.before, gap.amount) for gap in ahead]
    known += [(each.first, each.last, each.before, each.amount()) for each in found.files]
    at = books.acknowledged + books.dropped
    for gap in ahead:
        at -= gap.amount
    at = Amount(books.through, at.packets, at.bytes)
    queued = Amount()
    for first, last, before, amount in sorted(known):
        if first > at.blocks + 1:
            _hole(books, at, before, DAMAGED)
        at = Amount(last, before.packets + amount.packets, before.bytes + amount.bytes)
    for segment in found.files:
        queued += segment.amount(books.through)
    books.sent = max(books.sent, books.through) if books.clean else at.blocks
    if found.files or books.gaps:
        last = max(books.last, at.blocks) + (0 if books.clean else UNKNOWN)
        end = Amount(last, books.put.packets, books.put.bytes)
        _hole(books, at, end, STOPPED)
        at = end
    books.last = at.blocks
    books.put = books.acknowledged + books.dropped + queued


def _hole(books: Books, at: Amount, to: Amount, reason: str) -> None:
    if to.blocks > at.blocks:
        amount = Amount(to.blocks - at.blocks, max(0, to.packets - at.packets), max(0, to.bytes - at.bytes))
        books.lose_range(at.blocks + 1, amount, at, reason)
