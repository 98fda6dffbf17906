"""Orders of the courier: what fails leaves all as it was, and never ends the capture."""

import socket

import msgspec
import pytest
from voipfleet.capture import bpf
from voipfleet.capture.afpacket import Ring
from voipfleet.capture.block import ETHERNET, RAW
from voipfleet.orders import Orders

OLD, NEW = bpf.accept(100), bpf.accept(50)


@pytest.fixture
def ring():
    made = []

    def make(linktype=ETHERNET, loopback=False):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.append(sock)
        return Ring(sock, b"", f"if{len(made)}", linktype, loopback, OLD)

    yield make
    for sock in made:
        sock.close()


def order(rings, programs):
    orders = Orders(rings, None, None)
    orders.take(msgspec.msgpack.encode({"n": 1, "what": "filter", "programs": programs}))
    (answer,) = orders.done()
    return msgspec.msgpack.decode(answer)


def test_each_ring_takes_the_program_of_its_link_type(ring):
    rings = [ring(), ring(RAW), ring(loopback=True)]
    assert order(rings, {ETHERNET: NEW, RAW: bpf.accept(7)}) == {"n": 1}
    assert [one.program for one in rings] == [NEW, bpf.accept(7), bpf.without_outgoing(NEW)]


@pytest.mark.parametrize(("programs", "sentence"), [
    ({ETHERNET: NEW}, "filter: asks for something of Ethernet, which if2 is not; leave it out"),
    ({ETHERNET: NEW, RAW: b"\xff" * 8}, "filter: the kernel does not take it (Invalid argument); the one before stays;"
                                        " give a simpler one"),
])  # fmt: skip
def test_a_filter_that_one_interface_cannot_have_no_interface_has(ring, programs, sentence, monkeypatch):
    rings, attached = [ring(), ring(RAW)], []
    attach = bpf.attach
    monkeypatch.setattr(bpf, "attach", lambda sock, program: (attach(sock, program), attached.append(program)))
    assert order(rings, programs) == {"n": 1, "error": sentence}
    assert [one.program for one in rings] == [OLD, OLD] and attached == [NEW, OLD]
