"""Makes link.json: one whole exchange with fixed keys. Run it only when the wire format changes on purpose.

    python tests/unit/link/vectors/make_link.py > tests/unit/link/vectors/link.json

The headers of the two secretstreams are random (libsodium chooses them), so a new file differs in `frames`.
"""

import json

import msgspec
from voipfleet.asking.messages import Ask, Behind, Cancel, Data, End, More
from voipfleet.link import frames, types
from voipfleet.link.handshake import Client, Hello, Server
from voipfleet.link.keys import Identity
from voipfleet.link.noise import public_key
from voipfleet.records.messages import CALL, Ack, Batch, Row, Status, Welcome

CLIENT_TIME, SERVER_TIME = 1_700_000_000_000_001, 1_700_000_000_000_002  # microseconds since the epoch
PSK = bytes(range(32))
HELLO = Hello(sensor_uuid=b"U" * 16, name="branch1", spool_epoch=b"E" * 16, next_seq=43, boot_id=b"B" * 16)
FURTHER = Status("branch2", 8, "0.1.0", "capture+mirror source", "", 1_700_000_000_000_000_000, {"packets": 6})
MESSAGES = {
    "WELCOME": (types.WELCOME, Welcome(b"S" * 8, b"C" * 16, "hq", b"E" * 16, 41, b"R" * 16)),
    "BATCH": (types.BATCH, Batch(b"E" * 16, [Row(42, b"R" * 16, 1, CALL, b"\x90")])),
    "ACK": (types.ACK, Ack(b"E" * 16, 42, b"R" * 16)),
    "STATUS": (types.STATUS, Status("branch1", 7, "0.1.0", "capture+client", "north", 1_700_000_000_000_000_000,
                                    {"packets": 5})),
    "BEHIND": (types.BEHIND, Behind(b"V" * 16, [b"U" * 16], "branch2", "192.0.2.7", "0123-4567",
                                    1_700_000_000_000_000_000, FURTHER)),
    "ASK": (types.ASK, Ask(1, b"V" * 16, "fetch", b'{"uuid": "52"}', "ann@hq", 1)),
    "DATA": (types.DATA, Data(1, b"\xd4\xc3\xb2\xa1")),
    "END": (types.END, End(1, "", b'{"bytes": 4}')),
    "MORE": (types.MORE, More(1, 65536)),
    "CANCEL": (types.CANCEL, Cancel(1)),
}  # fmt: skip
# What each end sends, in this order, between the handshake and its last frame.
SAID = {"server": ("WELCOME", "ACK", "ASK", "MORE", "CANCEL"), "client": ("BATCH", "STATUS", "BEHIND", "DATA", "END")}


def identity(fill: int) -> Identity:
    private = bytes([fill]) * 32
    return Identity(private, public_key(private))


def exchange() -> tuple[Client, Server, dict]:
    """Both ends after the handshake, and its three messages."""
    client = Client(identity(1), PSK, types.ROLE_RECORDS, (identity(2).public,), ephemeral=bytes([3]) * 32)
    server = Server((identity(2),), ephemeral=bytes([4]) * 32)
    said = {"m1": client.first()}
    server.first(said["m1"])
    said["m2"] = server.second(SERVER_TIME, listed=True)
    client.second(said["m2"])
    said["m3"] = client.third(HELLO, CLIENT_TIME)
    server.third(said["m3"], (PSK,))
    return client, server, said | {
        "client_to_server": client.keys.send, "server_to_client": client.keys.receive, "hash": client.keys.hash,
    }  # fmt: skip


def main() -> None:
    client, server, said = exchange()
    out = {name: value.hex() for name, value in said.items()}
    out["messages"] = {name: msgspec.msgpack.encode(body).hex() for name, (_, body) in MESSAGES.items()}
    out["frames"] = {}
    for end, keys in (("server", server.keys), ("client", client.keys)):
        sealer = frames.Sealer(keys.send, keys.hash)
        sealed = [sealer.seal(kind, msgspec.msgpack.encode(body)) for kind, body in map(MESSAGES.get, SAID[end])]
        sealed.append(sealer.seal(types.GOAWAY, b"shutdown", final=True))
        out["frames"][end] = [sealer.header.hex(), *(frame.hex() for frame in sealed)]
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
