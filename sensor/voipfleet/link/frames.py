"""Frames after the handshake: `u32 length | secretstream(type | flags | body)`, one stream each way.

libsodium's secretstream (XChaCha20-Poly1305) makes replay, reordering and dropping of frames fail. The
additional data of the first frame in a direction is the handshake hash, of all others the length prefix.
"""

import struct

from nacl import bindings

MAX_FRAME = 1 << 20  # bytes of `type | flags | body`
MAX_BEFORE_WELCOME = 512
OVERHEAD = bindings.crypto_secretstream_xchacha20poly1305_ABYTES
HEADER = bindings.crypto_secretstream_xchacha20poly1305_HEADERBYTES
REKEY_FRAMES, REKEY_BYTES = 1 << 16, 1 << 30
_MESSAGE = bindings.crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
_REKEY = bindings.crypto_secretstream_xchacha20poly1305_TAG_REKEY
_FINAL = bindings.crypto_secretstream_xchacha20poly1305_TAG_FINAL
_LENGTH = struct.Struct("!I")


class FrameError(EOFError):
    """The stream cannot go on: a frame is not the peer's next one, or is too long."""


class Sealer:
    """The sending direction. One task owns it: frames must be written in the order in which they are sealed."""

    def __init__(self, key: bytes, handshake_hash: bytes):
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        self.header = bindings.crypto_secretstream_xchacha20poly1305_init_push(self._state, key)
        self._ad: bytes | None = handshake_hash
        self._frames = self._bytes = 0

    def rekey(self) -> None:
        """The next frame carries new keys, as one does every 2^16 frames or 1 GiB."""
        self._frames = REKEY_FRAMES

    def seal(self, kind: int, body: bytes = b"", *, final: bool = False) -> bytes:
        """One frame as it is sent."""
        if len(body) + 2 > MAX_FRAME:
            raise ValueError(f"a frame of {len(body)} bytes; at most {MAX_FRAME - 2} fit")
        length = _LENGTH.pack(len(body) + 2 + OVERHEAD)
        self._frames += 1
        self._bytes += len(body)
        tag = _MESSAGE
        if final:
            tag = _FINAL
        elif self._frames >= REKEY_FRAMES or self._bytes >= REKEY_BYTES:
            tag, self._frames, self._bytes = _REKEY, 0, 0
        sealed = bindings.crypto_secretstream_xchacha20poly1305_push(
            self._state, bytes((kind, 0)) + body, self._ad or length, tag
        )
        self._ad = None
        return length + sealed


class Opener:
    """The receiving direction. `limit` is what a frame may hold; it grows once the peer is welcome."""

    def __init__(self, key: bytes, header: bytes, handshake_hash: bytes, limit: int = MAX_FRAME):
        self._state = bindings.crypto_secretstream_xchacha20poly1305_state()
        bindings.crypto_secretstream_xchacha20poly1305_init_pull(self._state, bytes(header), key)
        self._ad: bytes | None = handshake_hash
        self.limit = limit
        self.final = False

    def size(self, prefix: bytes) -> int:
        """How many bytes follow the length prefix; checked before anything is allocated for them."""
        (size,) = _LENGTH.unpack(prefix)
        if not OVERHEAD + 2 <= size <= self.limit + OVERHEAD:
            raise FrameError(f"a frame of {size} bytes is announced; at most {self.limit + OVERHEAD} are taken")
        return size

    def open(self, prefix: bytes, sealed: bytes) -> tuple[int, bytes]:
        """(type, body) of the next frame; FrameError for anything else, and for whatever follows a final one."""
        if self.final:
            raise FrameError("a frame after the final one")
        try:
            plain, tag = bindings.crypto_secretstream_xchacha20poly1305_pull(
                self._state, bytes(sealed), self._ad or bytes(prefix)
            )
        except Exception as error:  # PyNaCl raises RuntimeError here
            raise FrameError("a frame does not decrypt: it was changed on its way, or is not the next one") from error
        self._ad = None
        self.final = tag == _FINAL
        return plain[0], plain[2:]
