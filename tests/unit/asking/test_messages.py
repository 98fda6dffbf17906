"""What travels when one instance asks another: what is encoded comes back, and what is none is refused."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from voipfleet.asking import messages
from voipfleet.asking.messages import Ask, Behind, Cancel, Data, End, More
from voipfleet.records.messages import Status

UUIDS = st.binary(min_size=16, max_size=16)
NUMBERS = st.integers(0, 1 << 62)
TEXTS = st.text(max_size=9)
STATUSES = st.builds(Status, TEXTS, st.integers(0, 9), TEXTS, TEXTS, TEXTS, NUMBERS,
                     st.dictionaries(TEXTS, st.integers(0, 1 << 60)))  # fmt: skip
MESSAGES = st.one_of(
    st.builds(Ask, NUMBERS, UUIDS, st.text(min_size=1, max_size=32), st.binary(max_size=100), st.text(max_size=128),
              st.integers(0, 255)),
    st.builds(Data, NUMBERS, st.binary(max_size=1000)),
    st.builds(End, NUMBERS, st.text(max_size=50), st.binary(max_size=100)),
    st.builds(More, NUMBERS, st.integers(1, messages.WINDOW)),
    st.builds(Cancel, NUMBERS),
    st.builds(Behind, UUIDS, st.lists(UUIDS, min_size=1, max_size=8),
              st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True),
              st.text(max_size=64), st.text(max_size=64), NUMBERS, STATUSES),
)  # fmt: skip
KINDS = (Ask, Data, End, More, Cancel, Behind)
TOO_MUCH = [
    Ask(1, b"t" * 15, "status", b"{}", "root"),
    Ask(1, b"t" * 16, "", b"{}", "root"),
    Ask(1, b"t" * 16, "s" * 33, b"{}", "root"),
    Ask(1, b"t" * 16, "status", bytes(messages.MAX_ARGUMENTS + 1), "root"),
    Ask(1, b"t" * 16, "status", b"{}", "r" * 129),
    Ask(-1, b"t" * 16, "status", b"{}", "root"),
    Data(1, bytes(messages.MAX_DATA + 1)),
    End(1, "e" * 2001),
    End(1, "", bytes(messages.MAX_RESULT + 1)),
    More(1, 0),
    More(1, messages.WINDOW + 1),
    Cancel(1 << 63),
    Behind(b"u" * 16, [], "n", "", "", 0, Status("n", 0, "", "", "", 0, {})),
    Behind(b"u" * 16, [b"h" * 16] * 9, "n", "", "", 0, Status("n", 0, "", "", "", 0, {})),
    *(
        Behind(b"u" * 16, [b"h" * 16], name, "", "", 0, Status("n", 0, "", "", "", 0, {}))
        for name in ("", "n" * 65, "a b", "a\n", "br\x1b[2J", "n\u00e9")
    ),
    Behind(b"u" * 16, [b"h" * 16], "n", "", "", 0, Status("n", 0, "", "", "", 0, {str(n): n for n in range(257)})),
    Behind(b"u" * 16, [b"h" * 16], "n", "", "", 0, Status("n", 0, "", "", "", 0, {"c" * 65: 1})),
    Behind(b"u" * 16, [b"h" * 16], "n", "", "", 0, Status("n", 0, "", "", "s" * 1025, 0, {})),
]


@given(MESSAGES)
def test_a_message_comes_back(message):
    assert messages.decoder(type(message))(messages.encode(message)) == message


@given(st.binary(max_size=300), st.sampled_from(KINDS))
def test_noise_is_refused_by_one_of_two_errors(noise, kind):
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
        assert isinstance(messages.decoder(kind)(noise), kind)


@pytest.mark.parametrize("message", TOO_MUCH, ids=lambda message: type(message).__name__)
def test_beyond_a_limit_it_is_refused(message):
    with pytest.raises(msgspec.ValidationError):
        messages.decoder(type(message))(messages.encode(message))


def test_fields_that_a_later_release_adds_are_passed_over():
    later = [*msgspec.msgpack.decode(messages.encode(Cancel(7))), "more", 1]
    assert messages.decoder(Cancel)(messages.encode(later)) == Cancel(7)
    assert messages.decoder(End)(messages.encode([3])) == End(3)


@pytest.mark.parametrize("name", ["branch1", "2001:db8::1", "a b", "", "x" * 99, "n\u00e9"])
def test_any_name_of_a_host_can_be_told(name):
    told = Behind(b"u" * 16, [b"h" * 16], messages.host_name(name), "", "", 0, Status("n", 0, "", "", "", 0, {}))
    assert messages.decoder(Behind)(messages.encode(told)) == told


@given(st.dictionaries(st.text(max_size=5), st.integers(), max_size=5))
def test_an_object_is_an_object(found):
    assert messages.json_object(json.dumps(found).encode()) == found


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b"null", b"{", b"\xff", b'{"a":' + b"[" * 100_000])
def test_what_is_no_object_is_one_error(body):
    with pytest.raises(ValueError):
        messages.json_object(body)
