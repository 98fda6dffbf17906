"""The wire format against files: the public vector of the Noise pattern, and a recorded exchange of the link."""

import importlib.util
import json
from pathlib import Path

import msgspec
from voipfleet.link import frames, types
from voipfleet.records.messages import Ack, Batch, Status, Welcome

FOLDER = Path(__file__).parent / "vectors"
LINK = json.loads((FOLDER / "link.json").read_text())
TYPES = {"WELCOME": Welcome, "BATCH": Batch, "ACK": Ack, "STATUS": Status}


def maker():
    spec = importlib.util.spec_from_file_location("make_link", FOLDER / "make_link.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_handshake_is_byte_for_byte_the_recorded_one():
    _, _, said = maker().exchange()
    for name, value in said.items():
        assert value.hex() == LINK[name], name


def test_the_recorded_frames_open_to_the_messages():
    _, _, said = maker().exchange()
    for end, key, kinds in (
        ("server", said["server_to_client"], ("WELCOME", "ACK")),
        ("client", said["client_to_server"], ("BATCH", "STATUS")),
    ):
        header, *sealed = map(bytes.fromhex, LINK["frames"][end])
        opener = frames.Opener(key, header, said["hash"])
        for kind, frame in zip(kinds, sealed, strict=False):
            assert opener.size(frame[:4]) == len(frame) - 4
            assert opener.open(frame[:4], frame[4:]) == (getattr(types, kind), bytes.fromhex(LINK["messages"][kind]))
        assert opener.open(sealed[-1][:4], sealed[-1][4:]) == (types.GOAWAY, b"shutdown")
        assert opener.final


def test_messages_are_encoded_as_recorded():
    for name, (_, body) in maker().MESSAGES.items():
        recorded = bytes.fromhex(LINK["messages"][name])
        assert msgspec.msgpack.encode(body) == recorded
        assert msgspec.msgpack.decode(recorded, type=TYPES[name]) == body
