"""Capture filters: pcap-filter(7) text to a classic BPF program, compiled by libpcap, run by the kernel."""

import ctypes
import socket
import struct

from voipfleet.errors import ConfigError, Fault, VoipfleetError

_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("=HBBI")  # code, jump if true, jump if false, constant
INSTRUCTION_BYTES = _INSTRUCTION.size
_RETURN, _LOAD_WORD, _JUMP_EQUAL = 0x06, 0x20, 0x15
_PACKET_TYPE, _OUTGOING = 0xFFFFF004, 4  # SKF_AD_OFF + SKF_AD_PKTTYPE; PACKET_OUTGOING
_NO_NETMASK = 0xFFFFFFFF


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint), ("instructions", ctypes.c_void_p)]


def compile_filter(text: str | None, *, linktype: int, snaplen: int) -> bytes:
    """The program for `text`; it keeps `snaplen` bytes of what it accepts. Without text all is accepted.

    Raises ConfigError for text that libpcap does not understand, VoipfleetError without libpcap.
    """
    if not text:
        return accept(snaplen)
    try:
        pcap = ctypes.CDLL("libpcap.so.0.8")
    except OSError:
        try:
            pcap = ctypes.CDLL("libpcap.so.1")  # the same library's name outside Debian
        except OSError:
            raise VoipfleetError("filter: libpcap is missing; install the package libpcap0.8 (libpcap on EL)") from None
    pcap.pcap_open_dead.restype = ctypes.c_void_p
    pcap.pcap_geterr.restype = ctypes.c_char_p
    pcap.pcap_geterr.argtypes = pcap.pcap_close.argtypes = [ctypes.c_void_p]
    pcap.pcap_compile.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Program), ctypes.c_char_p, ctypes.c_int,
                                  ctypes.c_uint32]  # fmt: skip
    handle = pcap.pcap_open_dead({101: 12}.get(linktype, linktype), snaplen)  # DLT_RAW is 12 on Linux
    program = _Program()
    try:
        if pcap.pcap_compile(handle, ctypes.byref(program), text.encode(), 1, _NO_NETMASK):
            fault = pcap.pcap_geterr(handle).decode(errors="replace")
            raise ConfigError([Fault("", 0, "filter", f"{fault}; see pcap-filter(7)")])
        code = ctypes.string_at(program.instructions, program.length * _INSTRUCTION.size)
        pcap.pcap_freecode(ctypes.byref(program))
        return code
    finally:
        pcap.pcap_close(handle)


def accept(snaplen: int) -> bytes:
    """Accept everything, `snaplen` bytes of it (0: accept nothing)."""
    return _INSTRUCTION.pack(_RETURN, 0, 0, snaplen)


def without_outgoing(program: bytes) -> bytes:
    """`program` that first refuses what this host sends: a loopback interface shows each packet twice."""
    return b"".join((
        _INSTRUCTION.pack(_LOAD_WORD, 0, 0, _PACKET_TYPE),
        _INSTRUCTION.pack(_JUMP_EQUAL, 0, 1, _OUTGOING),
        _INSTRUCTION.pack(_RETURN, 0, 0, 0),
        program,
    ))  # fmt: skip


def attach(sock: socket.socket, program: bytes) -> None:
    """Let the kernel run `program` on what `sock` receives, in place of the one before."""
    code = ctypes.create_string_buffer(program, len(program))
    count = len(program) // _INSTRUCTION.size
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", count, ctypes.addressof(code)))
