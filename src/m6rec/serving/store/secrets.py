"""The secret of a store: what keys and pseudonyms are hashed with. It lies in a file beside the database, never in it."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from hashlib import sha256
from pathlib import Path

from m6rec.base.errors import StorageError

BYTES = 32
PSEUDONYM = re.compile(r"p-[0-9a-f]{32}")


class Secret:
    """32 random bytes, and the file they lie in."""

    def __init__(self, value: bytes, path: Path) -> None:
        self._value = value
        self.path = path

    @classmethod
    def load(cls, path: Path) -> Secret:
        """The secret in `path`; made if there is none.

        Raises:
            StorageError: the file can't be read or written, or holds something else.
        """
        try:
            if not path.exists():
                _create(path)
            value = bytes.fromhex(path.read_text(encoding="ascii").strip())
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror or error}; this user has to read and write it") from error
        except ValueError:
            value = b""
        if len(value) != BYTES:
            raise StorageError(f"{path} holds no secret ({2 * BYTES} hexadecimal digits); put the right one back from a backup")
        return cls(value, path)

    def keyed(self, purpose: str, text: str) -> str:
        """HMAC-SHA-256 in hexadecimal; another purpose gives another hash of the same text."""
        return hmac.new(self._value, f"{purpose}\x00{text}".encode("utf-8", "surrogatepass"), sha256).hexdigest()

    def pseudonym(self, user_id: str) -> str:
        """The name of a user that only this secret leads to. 128 bits: two users never meet. A pseudonym is its own."""
        if PSEUDONYM.fullmatch(user_id):
            return user_id
        return "p-" + self.keyed("user", user_id)[:32]

    def fingerprint(self) -> str:
        """Tells two secrets apart and tells nothing of them."""
        return self.keyed("fingerprint", "")[:16]


def _create(path: Path) -> None:
    """Written whole under another name first, and never over a file that another process made in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_bytes(BYTES).hex().encode() + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
