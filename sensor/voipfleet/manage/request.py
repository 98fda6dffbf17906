"""One command as its handler sees it, and who may give which. Pure."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from voipfleet.errors import VoipfleetError

OPERATORS, FETCHERS, LISTENERS = "voipfleet", "voipfleet-pcap", "voipfleet-listen"  # Unix groups
ROOT = ""  # instead of a group: nobody but root and the daemon's own user
GROUPS = (OPERATORS, FETCHERS, LISTENERS)
ALL = frozenset((ROOT, *GROUPS))
_YES_NO = {"yes": True, "true": True, "no": False, "false": False}
_UUID = re.compile(r"[0-9a-fA-F]{32}")
MAX_TEXT = 1024  # characters of an argument

Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Request:
    """`who` asks, with what ALL holds as far as he may; `send` takes an answer's data and waits while there is no room
    for more."""

    arguments: dict
    who: str
    groups: frozenset[str]
    send: Send

    def text(self, name: str, default: str | None = None) -> str:
        """An argument that is text; VoipfleetError without it."""
        value = self.arguments.get(name, default)
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise VoipfleetError(f"{name}: give it as text of at most {MAX_TEXT} characters")
        return value

    def uuid(self, name: str = "uuid") -> bytes:
        """An argument that is a uuid: 32 hexadecimal digits."""
        if not (found := as_uuid(self.text(name))):
            raise VoipfleetError(f"{name}: is no uuid; give its 32 hexadecimal digits")
        return found

    def named(self, name: str = "uuid") -> str:
        """The uuid that an argument is, for the audit log, into which nothing else gets of what may stand there."""
        text = self.arguments.get(name)
        return as_uuid(text).hex() if isinstance(text, str) else ""

    def whole(self, name: str, default: int, most: int) -> int:
        """An argument that is a whole number from 0 to `most`; `ctl` may give it as text."""
        value = self.arguments.get(name, default)
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise VoipfleetError(f"{name}: give a whole number from 0 to {most}")
        return value

    def yes(self, name: str, default: bool = False) -> bool:
        """An argument that is true or false, as text yes or no."""
        value = self.arguments.get(name, default)
        value = _YES_NO.get(value, value) if isinstance(value, str) else value
        if not isinstance(value, bool):
            raise VoipfleetError(f"{name}: give yes or no")
        return value


def as_uuid(text: str) -> bytes:
    """The uuid that the text is; b"" where it is none."""
    return bytes.fromhex(text) if _UUID.fullmatch(text) else b""


def held(names: set[str]) -> frozenset[str]:
    """What of ALL somebody has who is in the Unix groups `names`; who may listen may fetch."""
    found = names & set(GROUPS)
    return frozenset(found | {FETCHERS} if LISTENERS in found else found)


def refusal(user: str, group: str) -> str:
    """The sentence for who is not in that group."""
    if group == ROOT:
        return f"not permitted: {user} is not root; ask whoever runs this host"
    return (f"not permitted: {user} is not in group {group}; ask whoever runs this host"
            f" (usermod -aG {group} {user}, then log in anew)")  # fmt: skip
