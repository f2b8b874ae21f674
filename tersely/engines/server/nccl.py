"""Sends the trainer's weights to the workers of vLLM servers over NCCL: one group, with the trainer's first rank as root.

    join:  /init_weight_transfer_engine on every server, each with its rank, while the trainer opens the group
    begin: /start_weight_update
    send:  /update_weights announces names, types and shapes of some tensors, which the group then broadcasts
    end:   /finish_weight_update

The servers are vLLM's own with `--weight-transfer-config '{"backend": "nccl"}'`, which is what TRL's server mode starts
too. One broadcast reaches all of them, so the model is gathered once, however many there are.
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
"""Of tensors that are announced and broadcast together; the trainer holds a copy of that many, and a packed one."""


class Transport(Protocol):
    """How tensors travel. `backend` is vLLM's name of it, in a server's `weight_transfer_config`."""

    backend: str

    def usable(self, device: Any) -> bool:
        """Whether a trainer on `device` has it."""

    def open(self, host: str, port: int, world_size: int) -> Any:
        """The group, as its rank 0; returns when all have come."""

    def broadcast(self, group: Any, tensors: Sequence[tuple[str, Any]]) -> None:
        """From rank 0, in this order; returns when they have left."""


class NCCL:
    """vLLM's own NCCL transfer, which has this form from 0.28 on, and must be installed where the trainer runs."""

    backend = "nccl"

    def usable(self, device: Any) -> bool:
        if device.type != "cuda":
            return False
        try:
            # the form of 0.28 and later: packing is agreed when the group is made
            from vllm.distributed.weight_transfer.nccl_common import NCCLRendezvous, trainer_init  # noqa: F401
        except ImportError:
            return False
        return True

    def open(self, host: str, port: int, world_size: int) -> Any:
        from vllm.distributed.weight_transfer.nccl_common import trainer_init

        return trainer_init({"master_address": host, "master_port": port, "world_size": world_size})

    def broadcast(self, group: Any, tensors: Sequence[tuple[str, Any]]) -> None:
        """vLLM packs and sends on streams of its own, which wait for no other: the copies must be made before, and may be
        freed only when they have left.
        """
        import torch
        from vllm.distributed.weight_transfer.packed_tensor import packed_nccl_broadcast_producer

        torch.cuda.synchronize()
        packed_nccl_broadcast_producer(iter(tensors), group, src=0, post_iter_func=itemgetter(1))
        torch.cuda.synchronize()


class WeightGroup:
    """The group of `transport` with some servers; `call(address, path, body, timeout_s)` speaks to one of them.

    Any failure leaves it without members: `join` makes it anew. A member that dies in a broadcast can leave the trainer
    waiting in it, which the run's deadline ends.
    """

    def __init__(self, transport: Transport, call: Callable[..., Any], timeout_s: float):
        self.transport, self._call, self._timeout_s = transport, call, timeout_s
        self.members: tuple[str, ...] = ()
        self._group: Any = None

    def join(self, addresses: Sequence[str]) -> None:
        """Be in a group with exactly these servers; nothing is done where it stands."""
        if self.members == tuple(addresses):
            return
        with self._or_leave():
            workers = [self._call(at, "/get_world_size")["world_size"] for at in addresses]
            seen = [address_seen_from(at) for at in addresses]
            # a server of this machine can come by any of its addresses, one of another machine not by loopback
            host = next((at for at in seen if not ip_address(at).is_loopback), seen[0])
            port, world_size = free_port(host), 1 + sum(workers)
            shared = {"master_address": host, "master_port": port, "world_size": world_size, "packed": True}
            bodies = [{"init_info": {"rank_offset": 1 + sum(workers[:i]), **shared}} for i in range(len(workers))]
            with self._asked("/init_weight_transfer_engine", addresses, bodies):
                self._group = self.transport.open(host, port, world_size)
            self.members = tuple(addresses)

    def begin(self) -> None:
        """A trainer that was killed in the middle has left its update open; it is ended first."""
        with self._or_leave():
            try:
                self._all("/start_weight_update")
            except ServerDown:
                with suppress(ServerDown):
                    self._all("/finish_weight_update")
                self._all("/start_weight_update")

    def send(self, tensors: Sequence[tuple[str, Any]]) -> None:
        """Contiguous tensors on the trainer's device, under the names that vLLM loads them by."""
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
        """Every server is at work on its request while the block runs; what one of them says wrong is raised after it."""
        answers: list[Future[Any]] = []
        with ThreadPoolExecutor(len(addresses)) as pool:
            for address, body in zip(addresses, bodies, strict=True):
                answers.append(pool.submit(self._call, address, path, body, self._timeout_s))
            yield
        for answer in answers:
            answer.result()


def address_seen_from(server: str) -> str:
    """This machine's address on the way to `server` (http://host:port): loopback to a server of its own."""
    parts = urlsplit(server)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=10) as connection:
            return str(connection.getsockname()[0])
    except OSError as error:
        raise ServerDown(f"{server}: {error}") from error
