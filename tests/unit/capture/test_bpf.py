import ctypes.util
import struct

import pytest
from voipfleet.capture import bpf
from voipfleet.errors import ConfigError

needs_libpcap = pytest.mark.skipif(not ctypes.util.find_library("pcap"), reason="libpcap is not installed")


def _instructions(program):
    return list(struct.iter_unpack("=HBBI", program))


def test_no_text_accepts_all_with_the_snaplen():
    assert _instructions(bpf.compile_filter(None, linktype=1, snaplen=3200)) == [(6, 0, 0, 3200)]


@needs_libpcap
def test_a_filter_returns_the_snaplen_or_nothing():
    program = _instructions(bpf.compile_filter("udp port 5060", linktype=1, snaplen=3200))
    assert {constant for code, _, _, constant in program if code == 6} == {0, 3200}


@needs_libpcap
def test_a_wrong_filter_is_a_sentence():
    with pytest.raises(ConfigError, match=r"^filter: .*; see pcap-filter\(7\)$"):
        bpf.compile_filter("udp prot 5060", linktype=1, snaplen=3200)
