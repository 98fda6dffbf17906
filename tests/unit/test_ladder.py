"""The ladder: a line each, arrows from host to host, within the width."""

from hypothesis import given
from hypothesis import strategies as st
from voipfleet.ladder import Step, draw

A, B, C = "10.0.0.1:5060", "10.0.0.2:5060", "10.0.0.3:5061"


def test_two_hosts():
    steps = [Step(2_500_000, B, A, "180 Ringing"), Step(0, A, B, "INVITE SDP 10.0.0.1:4000"),
             Step(3_000_000_000, "10.0.0.1:4000", "10.0.0.2:5000", "RTP PCMU 50", True)]  # fmt: skip
    lines = draw(steps, 80)
    assert lines[0].split() == ["10.0.0.1", "10.0.0.2"]
    assert [line[:9].strip() for line in lines[2:]] == ["0.000", "0.003", "3.000"]
    assert lines[2].endswith("▶│") and "─ INVITE SDP 10.0.0.1:4000 ─" in lines[2]
    assert "│◀─" in lines[3] and "═ RTP PCMU 50 ═" in lines[4] and lines[4].endswith("▶│")


def test_hosts_between_are_passed_by_and_labels_lose_their_address_first():
    lines = draw([Step(0, A, B, "INVITE SDP 10.0.0.1:4000"), Step(1, B, C, "INVITE SDP 10.0.0.1:4000"),
                  Step(2, C, A, "200 OK")], 60)  # fmt: skip
    assert lines[2].count("│") == 3 and "─ INVITE SDP ─" in lines[2] and "..." not in lines[2]
    assert lines[4].count("│") == 2 and "200 OK" in lines[4]


def test_one_host_with_two_ports_has_two_lines():
    lines = draw([Step(0, "127.0.0.1:5060", "127.0.0.1:5070", "INVITE")], 80)
    assert lines[0].split() == ["127.0.0.1:5060", "127.0.0.1:5070"] and "INVITE" in lines[2]


def test_to_itself():
    assert "↺ OPTIONS" in draw([Step(0, A, A, "OPTIONS"), Step(1, A, B, "INVITE")], 80)[2]


def test_nothing():
    assert draw([], 80) == []


ENDS = st.sampled_from([A, B, C, "[2001:db8::1]:5060", "10.0.0.1:4000"])


@given(st.lists(st.tuples(st.integers(0, 10**12), ENDS, ENDS, st.text(max_size=60), st.booleans()), max_size=12),
       st.integers(20, 200))  # fmt: skip
def test_any_message_is_harmless_and_within_its_lines(parts, width):
    lines = draw([Step(*part) for part in parts], width)
    assert all(character.isprintable() for line in lines for character in line)
    assert len(lines) == (len(parts) + 2 if parts else 0)
