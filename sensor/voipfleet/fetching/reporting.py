"""What hosts say of a command that was for several of them: who has done it and who could not, in lines. No I/O."""

from collections.abc import Callable, Iterable, Iterator

from voipfleet.errors import VoipfleetError
from voipfleet.fetching.answers import plain
from voipfleet.harmless import harmless

MAX_DEEP = 8  # instances that pass a command on
ODD = "its answer is not as expected; is it of another release?"
ERRORS = (LookupError, TypeError, ValueError, AttributeError, OverflowError, OSError)  # of an answer that is not
# What hosts say where there is nothing to do for them: of a store that they do not have, a call or a hold
NOTHING = ("keeps no packets", "this call is not known here", "this call is not held here")


def hosts(answer: dict) -> tuple[list[dict], list[dict]]:
    """(those that have done it, those that have not, each with its `error`) of an answer with `done` and `missed`."""
    try:
        good, bad = (list(_each(answer, kind)) for kind in ("done", "missed"))
        for one in (*good, *bad):
            one["name"] = plain(one["name"]) or plain(one["sensor"])[:8]
        for one in bad:
            one["error"] = harmless(one["error"]).removeprefix(f"{one['name']}: ")
    except (KeyError, TypeError, AttributeError):
        raise VoipfleetError("the daemon's answer is not as expected; is it of another release?") from None
    return good, bad


def nothing(error: str) -> bool:
    """Whether the sentence of a host says that it has nothing of what was meant."""
    return any(part in error for part in NOTHING)


def lines(found: list[dict], words: Callable[[dict], str]) -> list[str]:
    """A line a host; of one whose answer is not as expected that is said, and the others' lines stand."""
    said = []
    for one in found:
        try:
            said.append(f"{one['name']}: {words(one)}")
        except ERRORS:
            said.append(f"{one['name']}: {ODD}")
    return said


def odd(said: list[str]) -> bool:
    """Whether one of those lines says that an answer is not as expected."""
    return any(line.endswith(ODD) for line in said)


def size(octets: int) -> str:
    """In the unit that gives it at least two digits."""
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB")):
        if octets >= 10 * unit:
            return f"{octets // unit:,} {name}"
    return f"{octets:,} bytes"


def several(names: Iterable[str]) -> str:
    """a, b and c"""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _each(answer: dict, kind: str, deep: int = 0) -> Iterator[dict]:
    """Also of hosts whose answer is that of others, as they had asked them."""
    for one in answer["done"]:
        if "done" in one and deep < MAX_DEEP:
            yield from _each(one, kind, deep + 1)
        elif kind == "done":
            yield dict(one)
    if kind == "missed":
        yield from map(dict, answer["missed"])
