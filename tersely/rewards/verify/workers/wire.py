"""Message format between the owner and its workers: a length, then JSON. Nothing is unpickled."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_HEAD = struct.Struct(">I")
LIMIT = 1 << 24


def pack(message: Any) -> bytes:
    """Lone surrogates travel as escapes, so that any string arrives as it was."""
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(body) > LIMIT:
        raise ValueError(f"a message of {len(body)} bytes; the limit is {LIMIT}")
    return _HEAD.pack(len(body)) + body


class Buffer:
    """Bytes as they arrive, and the messages that are complete."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        self._data += data

    def pop(self) -> Any:
        """The next complete message, None where there is none yet."""
        if len(self._data) < _HEAD.size:
            return None
        (length,) = _HEAD.unpack_from(self._data)
        if length > LIMIT:
            raise ValueError(f"a message of {length} bytes; the limit is {LIMIT}")
        end = _HEAD.size + length
        if len(self._data) < end:
            return None
        message = json.loads(bytes(self._data[_HEAD.size : end]))
        del self._data[:end]
        return message


def receive(connection: socket.socket, buffer: Buffer) -> Any:
    """The next message, waiting for it; None at the end of the stream."""
    while True:
        message = buffer.pop()
        if message is not None:
            return message
        data = connection.recv(65536)
        if not data:
            return None
        buffer.feed(data)
