"""Messages between the owner and its workers: a length, then JSON. Nothing is unpickled."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_HEAD = struct.Struct(">I")
LIMIT = 1 << 24


def pack(message: Any) -> bytes:
    """Encode a message. Lone surrogates are escaped, so any string arrives unchanged. Raises `ValueError` above `LIMIT`."""
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(body) > LIMIT:
        raise ValueError(f"message: got {len(body)} bytes; expected at most {LIMIT}")
    return _HEAD.pack(len(body)) + body


class Buffer:
    """Collects received bytes and returns complete messages."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        self._data += data

    def pop(self) -> Any:
        """Return the next complete message; None if there is none yet."""
        if len(self._data) < _HEAD.size:
            return None
        (length,) = _HEAD.unpack_from(self._data)
        if length > LIMIT:
            raise ValueError(f"message: got {length} bytes; expected at most {LIMIT}")
        end = _HEAD.size + length
        if len(self._data) < end:
            return None
        message = json.loads(bytes(self._data[_HEAD.size : end]))
        del self._data[:end]
        return message


def receive(connection: socket.socket, buffer: Buffer) -> Any:
    """Wait for the next message; None at the end of the stream."""
    while True:
        message = buffer.pop()
        if message is not None:
            return message
        data = connection.recv(65536)
        if not data:
            return None
        buffer.feed(data)
