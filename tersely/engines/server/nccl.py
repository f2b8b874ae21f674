"""Sends the trainer's weights to the workers of vLLM servers over NCCL: one group, with the trainer's first rank as root.

    join:  /init_weight_transfer_engine on every server, each with its rank, while the trainer creates the group
    begin: /start_weight_update
    send:  /update_weights announces names, types and shapes of some tensors, which the group then broadcasts
    end:   /finish_weight_update

The servers run plain vLLM with `--weight-transfer-config '{"backend": "nccl"}'`, as in TRL's server mode. One broadcast
reaches all servers, so the model is gathered only once.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from operator import itemgetter
from typing import Any, Protocol
from urllib.parse import urlsplit

from tersely.core.http import ServerDown
from tersely.engines.server.launch import free_port

BUCKET_BYTES = 512 * 1024**2
"""Bytes of tensors that are announced and broadcast together; the trainer has a copy of them, and a packed one."""


class Transport(Protocol):
    """Transport of tensors. `backend`: vLLM's name for it in a server's `weight_transfer_config`."""

    backend: str

    def usable(self, device: Any) -> bool:
        """True if a trainer on `device` supports it."""

    def open(self, host: str, port: int, world_size: int) -> Any:
        """Create the group as rank 0; returns when all members have joined."""

    def broadcast(self, group: Any, tensors: Sequence[tuple[str, Any]]) -> None:
        """Broadcast tensors from rank 0, in this order; returns when they are sent."""


class NCCL:
    """vLLM's NCCL transfer in its form since 0.28; vLLM must be installed on the trainer's machine."""

    backend = "nccl"

    def usable(self, device: Any) -> bool:
        if device.type != "cuda":
            return False
        try:
            # 0.28 and later: packing is agreed when the group is created
            from vllm.distributed.weight_transfer.nccl_common import NCCLRendezvous, trainer_init  # noqa: F401
        except ImportError:
            return False
        return True

    def open(self, host: str, port: int, world_size: int) -> Any:
        from vllm.distributed.weight_transfer.nccl_common import trainer_init

        return trainer_init({"master_address": host, "master_port": port, "world_size": world_size})

    def broadcast(self, group: Any, tensors: Sequence[tuple[str, Any]]) -> None:
        """Broadcast with vLLM, which packs and sends on separate streams without synchronisation: copies must be ready before,
        and may be freed only after sending.
        """
        import torch
        from vllm.distributed.weight_transfer.packed_tensor import packed_nccl_broadcast_producer

        torch.cuda.synchronize()
        packed_nccl_broadcast_producer(iter(tensors), group, src=0, post_iter_func=itemgetter(1))
        torch.cuda.synchronize()


class WeightGroup:
    """A group of `transport` with some servers; `call(address, path, body, timeout_s)` sends a request to one of them.

    After any failure it has no members, and `join` creates it again. If a member dies in a broadcast, the trainer may wait in
    it until the run's deadline.
    """

    def __init__(self, transport: Transport, call: Callable[..., Any], timeout_s: float):
        self.transport, self._call, self._timeout_s = transport, call, timeout_s
        self.members: tuple[str, ...] = ()
        self._group: Any = None

    def join(self, addresses: Sequence[str]) -> None:
        """Create a group with exactly these servers, unless it exists."""
        if self.members == tuple(addresses):
            return
        with self._or_leave():
            workers = [self._call(at, "/get_world_size")["world_size"] for at in addresses]
            seen = [address_seen_from(at) for at in addresses]
            # a server on this machine can use any address, one on another machine not loopback
            host = next((at for at in seen if not ip_address(at).is_loopback), seen[0])
            port, world_size = free_port(host), 1 + sum(workers)
            shared = {"master_address": host, "master_port": port, "world_size": world_size, "packed": True}
            bodies = [{"init_info": {"rank_offset": 1 + sum(workers[:i]), **shared}} for i in range(len(workers))]
            with self._asked("/init_weight_transfer_engine", addresses, bodies):
                self._group = self.transport.open(host, port, world_size)
            self.members = tuple(addresses)

    def begin(self) -> None:
        """Start an update; first ends an update that a killed trainer left open."""
        with self._or_leave():
            try:
                self._all("/start_weight_update")
            except ServerDown:
                with suppress(ServerDown):
                    self._all("/finish_weight_update")
                self._all("/start_weight_update")

    def send(self, tensors: Sequence[tuple[str, Any]]) -> None:
        """Send contiguous tensors on the trainer's device, with the names that vLLM expects."""
        info = {
            "names": [name for name, _ in tensors],
            "dtype_names": [str(value.dtype).removeprefix("torch.") for _, value in tensors],
            "shapes": [list(value.shape) for _, value in tensors],
        }
        with (
            self._or_leave(),
            self._asked("/update_weights", self.members, [{"update_info": info}] * len(self.members)),
        ):
            self.transport.broadcast(self._group, tensors)

    def end(self) -> None:
        with self._or_leave():
            self._all("/finish_weight_update")

    def leave(self) -> None:
        self.members, self._group = (), None

    @contextmanager
    def _or_leave(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.leave()
            raise

    def _all(self, path: str) -> None:
        with self._asked(path, self.members, [{}] * len(self.members)):
            pass

    @contextmanager
    def _asked(self, path: str, addresses: Sequence[str], bodies: Sequence[Any]) -> Iterator[None]:
        """Context manager: sends a request to every server while the block runs; raises their errors afterwards."""
        answers: list[Future[Any]] = []
        with ThreadPoolExecutor(len(addresses)) as pool:
            for address, body in zip(addresses, bodies, strict=True):
                answers.append(pool.submit(self._call, address, path, body, self._timeout_s))
            yield
        for answer in answers:
            answer.result()


def address_seen_from(server: str) -> str:
    """This machine's address as seen from `server` (http://host:port); loopback for a local server."""
    parts = urlsplit(server)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=10) as connection:
            return str(connection.getsockname()[0])
    except OSError as error:
        raise ServerDown(f"{server}: {error}") from error
