"""The link's handshake "VFL1": the byte layouts around the Noise pattern. Bytes in, bytes out; no I/O.

M1 client to server, 80 bytes; M2 server to client, 128; M3 client to server, 256; then the server's
secretstream header and its first frame, WELCOME. docs/link.md has the tables.
"""

import hashlib
import hmac
import os
import re
import struct
from dataclasses import dataclass

from voipfleet.link.frames import MAX_FRAME
from voipfleet.link.keys import Identity
from voipfleet.link.noise import Handshake, NoiseError, public_key

MAGIC, REJECT, SUITE = b"VFL1", b"VFLX", 1
LOWEST, VERSION = 1, 1  # of what travels inside: what this release can speak; the highest that both can is spoken
M1, M2, M3 = 80, 128, 256
KNOCKED = 1  # flag in M1
LISTED = 1  # flag in M2: an allow-list of keys is enforced
_M1 = struct.Struct("!4sBBBBI4x")
_M2 = struct.Struct("!BBHIQ16x")
_M3 = struct.Struct("!32s16s64s16s16sQQII")


class HandshakeError(Exception):
    """Why the connection is closed: one word for the audit log, and a sentence."""

    def __init__(self, word: str, sentence: str):
        super().__init__(sentence)
        self.word = word


@dataclass(frozen=True)
class Hello:
    """What a client says of itself, encrypted and authenticated."""

    sensor_uuid: bytes
    name: str
    spool_epoch: bytes
    next_seq: int
    boot_id: bytes = bytes(16)
    build: int = 0
    caps: int = 0
    client_time: int = 0  # microseconds since the epoch; filled in when it is sent


@dataclass(frozen=True)
class Keys:
    """The two directions' keys and the hash that binds the frames to this handshake."""

    send: bytes
    receive: bytes
    hash: bytes


def knock(server_public: bytes, head: bytes, ephemeral: bytes) -> bytes:
    """Proof that a client knows the server's public key (nothing secret of the fleet is in it)."""
    key = hashlib.blake2b(b"VFL1 knock" + server_public, digest_size=32).digest()
    return hashlib.blake2b(head + ephemeral, key=key, digest_size=16).digest()


def _confirm(h: bytes) -> bytes:
    """Commits message 3 to one pre-shared key: ChaCha20-Poly1305 alone does not."""
    return hashlib.blake2b(b"VFL1 confirm" + h, digest_size=32).digest()


def wire_name(name: str) -> bytes:
    """A name as the format allows it: letters, digits, `._-`, at most 64 bytes."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", name).encode()[:64].ljust(64, b"\0")


class Client:
    """`first()` -> M1; `second(M2)`; `third(hello)` -> M3; `keys`."""

    def __init__(self, identity: Identity, psk: bytes, role: int, pins: tuple[bytes, ...],
                 ephemeral: bytes | None = None, versions: tuple[int, int] = (LOWEST, VERSION)):  # fmt: skip
        self._identity, self._psk, self._role, self._pins = identity, psk, role, pins
        self._ephemeral, self._versions = ephemeral or os.urandom(32), versions
        self.version = 0  # what will be spoken
        self.server_key = b""
        self.server_time = 0  # microseconds since the epoch

    def first(self) -> bytes:
        head = _M1.pack(MAGIC, SUITE, self._role, *self._versions, KNOCKED if self._pins else 0)
        public = public_key(self._ephemeral)
        proof = knock(self._pins[0], head, public) if self._pins else os.urandom(16)
        self._noise = Handshake(
            initiator=True, static=self._identity.private, prologue=head + proof, psk=self._psk,
            ephemeral=self._ephemeral,
        )  # fmt: skip
        return head + proof + self._noise.write()

    def second(self, message: bytes) -> None:
        """The server's proof. Nothing secret is sent before its key was compared with the pins."""
        try:
            self.version, _, _, _, self.server_time = _M2.unpack(self._noise.read(message))
        except NoiseError:
            raise HandshakeError("bad_m2", "the answer is not from a voipfleet server that got this request") from None
        self.server_key = self._noise.remote_static
        if self._pins and not any(hmac.compare_digest(self.server_key, pin) for pin in self._pins):
            raise HandshakeError("wrong_server", "the server's key is not the pinned one (server_key); this may be"
                                 " another host: nothing was sent to it")  # fmt: skip
        low, high = self._versions
        if not low <= self.version <= high:
            raise HandshakeError("version", f"the server wants to speak version {self.version}, this release speaks"
                                 f" {low}-{high}; upgrade the older one")  # fmt: skip

    def third(self, hello: Hello, now_us: int) -> bytes:
        noise = self._noise.copy()  # the confirmation is over the hash after the psk, before the payload
        sealed_static = noise.symmetric.encrypt(self._identity.public)
        noise._mix("se")
        noise.symmetric.mix_key_and_hash(self._psk)
        payload = _M3.pack(
            _confirm(noise.hash), hello.sensor_uuid, wire_name(hello.name), hello.spool_epoch, hello.boot_id,
            now_us, hello.next_seq, hello.caps, hello.build,
        ).ljust(M3 - 64, b"\0")  # fmt: skip
        message = sealed_static + noise.symmetric.encrypt(payload)
        send, receive = noise.split()
        self.keys = Keys(send, receive, noise.hash)
        return message


class Server:
    """`first(M1)`; `second()` -> M2; `third(M3)` -> Hello; then `client_key`, `slot` and `keys`."""

    def __init__(self, identities: tuple[Identity, ...], *, ephemeral: bytes | None = None,
                 versions: tuple[int, int] = (LOWEST, VERSION)):  # fmt: skip
        self._identities, self._ephemeral, self._versions = identities, ephemeral, versions
        self.knocked = False
        self.role = self.version = 0
        self.client_key = b""
        self.slot = -1  # which of the pre-shared keys it was

    def first(self, message: bytes) -> None:
        """Cheap: no key agreement before the shape and the knock were looked at."""
        magic, suite, self.role, low, high, flags = _M1.unpack(message[:16])
        if magic != MAGIC:
            raise HandshakeError("magic", "not a voipfleet link")
        self.version = min(high, self._versions[1])
        if suite != SUITE or self.version < max(low, self._versions[0]):
            raise HandshakeError("version", f"suite {suite}, versions {low}-{high} are not spoken here")
        self._identity = self._identities[0]
        if flags & KNOCKED:
            for identity in self._identities:
                if hmac.compare_digest(knock(identity.public, message[:16], message[32:64]), message[16:32]):
                    self._identity, self.knocked = identity, True
        self._noise = Handshake(
            initiator=False, static=self._identity.private, prologue=message[:32], ephemeral=self._ephemeral
        )
        try:
            self._noise.read(message[32:])
        except NoiseError:
            raise HandshakeError("bad_m1", "the first message is not well made") from None

    def hint(self) -> bytes:
        """For the log of a caller whose versions are not spoken here; in clear, so it proves nothing."""
        return REJECT + bytes((1, *self._versions, 0))

    def second(self, now_us: int, *, listed: bool = False) -> bytes:
        return self._noise.write(_M2.pack(self.version, LISTED if listed else 0, MAX_FRAME >> 10, 0, now_us))

    def third(self, message: bytes, psks: tuple[bytes, ...]) -> Hello:
        """Tries every pre-shared key, always all of them."""
        try:
            self.client_key, sealed = self._noise.read_static(message)
        except NoiseError:
            raise HandshakeError("bad_m3", "the third message does not decrypt") from None
        found = None
        for slot, psk in enumerate(psks):
            noise = self._noise.copy()
            try:
                noise.symmetric.mix_key_and_hash(psk)
                confirm = _confirm(noise.hash)
                payload = noise.symmetric.decrypt(sealed)
            except NoiseError:
                continue
            if hmac.compare_digest(payload[:32], confirm):
                found, self.slot = (noise, payload), slot
        if found is None:
            raise HandshakeError("password", "the fleet's password is not the same on both ends")
        noise, payload = found
        if any(hmac.compare_digest(self.client_key, identity.public) for identity in self._identities):
            raise HandshakeError("self", "this instance connects to itself; check server_destination")
        receive, send = noise.split()
        self.keys = Keys(send, receive, noise.hash)
        _, uuid, name, epoch, boot, sent, next_seq, caps, build = _M3.unpack(payload[: _M3.size])
        text = name.rstrip(b"\0")
        if not re.fullmatch(rb"[A-Za-z0-9._-]{1,64}", text):
            raise HandshakeError("name", "the sensor's name has characters that are not allowed")
        return Hello(uuid, text.decode(), epoch, next_seq, boot, build, caps, sent)
