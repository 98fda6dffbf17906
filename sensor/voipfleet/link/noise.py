"""The Noise pattern XXpsk3 with 25519, ChaChaPoly and BLAKE2b (The Noise Protocol Framework, revision 34).

    -> e
    <- e, ee, s, es
    -> s, se, psk

Bytes in, bytes out, no I/O. In a psk pattern the token `e` also mixes the ephemeral key into the cipher key
(section 9.2), so the first message already carries a tag. Any failure is a NoiseError: the caller closes.
"""

import copy
import hashlib
import hmac

from nacl import bindings

NAME = b"Noise_XXpsk3_25519_ChaChaPoly_BLAKE2b"
DH, HASH, TAG = 32, 64, 16
PATTERN = (("e",), ("e", "ee", "s", "es"), ("s", "se", "psk"))


class NoiseError(Exception):
    """The message is not from a peer that knows what it must know (or was changed on its way)."""


def _hash(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"".join(parts)).digest()


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "blake2b")


def hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """Section 4.3: two or three outputs of 64 bytes."""
    secret, out, made = _hmac(chaining_key, material), b"", []
    for number in range(1, outputs + 1):
        out = _hmac(secret, out + bytes([number]))
        made.append(out)
    return made


def public_key(private: bytes) -> bytes:
    return bindings.crypto_scalarmult_base(private)


def shared_secret(private: bytes, public: bytes) -> bytes:
    """X25519; a public key of small order is refused (libsodium raises on an all-zero result)."""
    try:
        return bindings.crypto_scalarmult(private, bytes(public))
    except Exception as error:  # PyNaCl raises RuntimeError here
        raise NoiseError("the peer's key is not a key") from error


class Symmetric:
    """The symmetric state of section 5.2, with the cipher state inside."""

    def __init__(self, prologue: bytes):
        self.h = NAME.ljust(HASH, b"\0")  # the name is shorter than the hash: it is padded, not hashed
        self.ck = self.h
        self.key: bytes | None = None
        self.nonce = 0
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        self.h = _hash(self.h, data)

    def mix_key(self, material: bytes) -> None:
        self.ck, key = hkdf(self.ck, material, 2)
        self.key, self.nonce = key[:32], 0

    def mix_key_and_hash(self, material: bytes) -> None:
        self.ck, digest, key = hkdf(self.ck, material, 3)
        self.mix_hash(digest)
        self.key, self.nonce = key[:32], 0

    def encrypt(self, plain: bytes) -> bytes:
        sealed = plain
        if self.key:
            sealed = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plain, self.h, self._next(), self.key)
        self.mix_hash(sealed)
        return sealed

    def decrypt(self, sealed: bytes) -> bytes:
        plain = sealed
        if self.key:
            try:
                plain = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(sealed, self.h, self._next(), self.key)
            except Exception as error:  # CryptoError, or ValueError for a short text
                raise NoiseError("a message does not decrypt") from error
        self.mix_hash(sealed)
        return plain

    def split(self) -> tuple[bytes, bytes]:
        """The two transport keys: initiator to responder, responder to initiator."""
        first, second = hkdf(self.ck, b"", 2)
        return first[:32], second[:32]

    def _next(self) -> bytes:
        nonce = bytes(4) + self.nonce.to_bytes(8, "little")
        self.nonce += 1
        return nonce


class Handshake:
    """One side of XXpsk3. `write` and `read` in turn, three messages in all; then `split()`.

    `psk` may be None until the third message: a responder tries several on copies (`copy()`).
    """

    def __init__(self, *, initiator: bool, static: bytes, prologue: bytes, psk: bytes | None = None,
                 ephemeral: bytes | None = None):  # fmt: skip
        self.initiator, self._static, self.psk = initiator, static, psk
        self._ephemeral = ephemeral or bindings.randombytes(DH)
        self.remote_ephemeral: bytes | None = None
        self.remote_static: bytes | None = None
        self.symmetric = Symmetric(prologue)
        self._message = 0

    def copy(self) -> "Handshake":
        twin = copy.copy(self)
        twin.symmetric = copy.copy(self.symmetric)
        return twin

    @property
    def hash(self) -> bytes:
        """The handshake hash: both ends have the same one only if they saw the same messages."""
        return self.symmetric.h

    def split(self) -> tuple[bytes, bytes]:
        return self.symmetric.split()

    def write(self, payload: bytes = b"") -> bytes:
        out = b""
        for token in self._tokens():
            if token == "e":
                public = public_key(self._ephemeral)
                out += public
                self._mix_ephemeral(public)
            elif token == "s":
                out += self.symmetric.encrypt(public_key(self._static))
            else:
                self._mix(token)
        return out + self.symmetric.encrypt(payload)

    def read(self, message: bytes) -> bytes:
        """The payload of the peer's message."""
        rest = bytes(message)
        for token in self._tokens():
            if token == "e":
                self.remote_ephemeral, rest = self._take(rest, DH)
                self._mix_ephemeral(self.remote_ephemeral)
            elif token == "s":
                sealed, rest = self._take(rest, DH + TAG)
                self.remote_static = self.symmetric.decrypt(sealed)
            else:
                self._mix(token)
        return self.symmetric.decrypt(rest)

    def read_static(self, message: bytes) -> tuple[bytes, bytes]:
        """The responder's third message up to the psk: mixes `s` and `se` once, before any psk is tried.

        Returns the peer's static key and the payload's ciphertext for `finish`.
        """
        sealed, rest = self._take(bytes(message), DH + TAG)
        self.remote_static = self.symmetric.decrypt(sealed)
        self._mix("se")
        return self.remote_static, rest

    def finish(self, sealed: bytes, psk: bytes) -> bytes:
        """The payload of the third message under `psk`; on a copy, where there are several."""
        self.symmetric.mix_key_and_hash(psk)
        return self.symmetric.decrypt(sealed)

    def _tokens(self) -> tuple[str, ...]:
        self._message += 1
        return PATTERN[self._message - 1]

    def _mix_ephemeral(self, public: bytes) -> None:
        self.symmetric.mix_hash(public)
        self.symmetric.mix_key(public)

    def _mix(self, token: str) -> None:
        if token == "psk":
            self.symmetric.mix_key_and_hash(self.psk)
            return
        # The first letter is the initiator's key, the second the responder's.
        mine, theirs = token if self.initiator else token[::-1]
        private = self._ephemeral if mine == "e" else self._static
        public = self.remote_ephemeral if theirs == "e" else self.remote_static
        self.symmetric.mix_key(shared_secret(private, public))

    @staticmethod
    def _take(data: bytes, size: int) -> tuple[bytes, bytes]:
        if len(data) < size:
            raise NoiseError("a message is too short")
        return data[:size], data[size:]
