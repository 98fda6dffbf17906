"""Capture filters that come while an instance runs: compiled here, for the engine must not wait and neither must this.

libpcap looks up the names of hosts in a filter, which takes as long as DNS does, and some filters are long work.
"""

import contextlib

from voipfleet.beside import Beside
from voipfleet.capture.block import ETHERNET, RAW
from voipfleet.capture.bpf import INSTRUCTION_BYTES, compile_filter
from voipfleet.errors import ConfigError, VoipfleetError

SECONDS = 5.0
MAX_INSTRUCTIONS = 4000  # the kernel takes 4096 (BPF_MAXINSNS), and a ring may put some before it
_compiling = Beside("filter", 1)


async def compiled(text: str, snaplen: int) -> dict[int, bytes]:
    """The programs for `text` by link type, that of Ethernet in any case; "": all packets. VoipfleetError, with what
    libpcap says, for text that is no filter, or where it takes too long."""
    try:
        return await _compiling.call(SECONDS, _programs, text, snaplen)
    except TimeoutError:
        raise VoipfleetError(f"filter: was not compiled within {SECONDS:g} s, or another one still is; give addresses"
                             " instead of names of hosts, or a simpler filter") from None  # fmt: skip


def _programs(text: str, snaplen: int) -> dict[int, bytes]:
    try:
        made = {ETHERNET: compile_filter(text, linktype=ETHERNET, snaplen=snaplen)}
    except ConfigError as error:
        raise VoipfleetError("; ".join(f"filter: {fault.reason}" for fault in error.faults)) from None
    with contextlib.suppress(ConfigError):  # it asks for something of Ethernet; an interface that is none would miss it
        made[RAW] = compile_filter(text, linktype=RAW, snaplen=snaplen)
    if (longest := max(map(len, made.values())) // INSTRUCTION_BYTES) > MAX_INSTRUCTIONS:
        raise VoipfleetError(f"filter: has {longest:,} instructions, the kernel takes {MAX_INSTRUCTIONS:,}; give a"
                             " simpler one") from None  # fmt: skip
    return made
