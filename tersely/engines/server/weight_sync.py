"""Sends the trainer's weights to vLLM servers: over NCCL where vLLM's transfer is available, else through a folder.

Both ways share one pass over the model. Each synchronisation has a name; a server gets the name when it has the weights,
and a "loading" name before that.
"""

from __future__ import annotations

import secrets
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tersely.core.heartbeat import beat
from tersely.core.http import ServerDown, ServerRefused
from tersely.engines.server.nccl import BUCKET_BYTES, NCCL, Transport, WeightGroup

SETTLE_S = 30.0
"""Seconds to wait for abandoned answers to end before a server is given up."""


@dataclass(frozen=True)
class Offer:
    """A server's weight transfer and weight dtype; None if it does not report them."""

    backend: str | None = None
    dtype: str | None = None


@dataclass
class Published:
    """Result of a synchronisation: name, failed servers with reasons, transport, and whether a tied head may be outdated."""

    name: str
    down: dict[str, str] = field(default_factory=dict)
    ways: dict[str, str] = field(default_factory=dict)
    stale_head: bool = False


class ServedWeights:
    """Sends weights to `addresses`; `call(address, path, body=None, timeout_s=60.0)` sends a request to one of them.

    `folder`: a folder of this run that the servers see under the same path. `sync_s`: time limit for a server to load,
    seconds.
    """

    def __init__(self, addresses: Sequence[str], call: Callable[..., Any], folder: Path, sync_s: float):
        self.addresses, self.folder, self.sync_s = list(addresses), folder, sync_s
        self._call, self._run = call, secrets.token_hex(4)
        self._names: dict[str, str] = {}
        self._offers: dict[str, Offer] = {}
        self._group: WeightGroup | None = None

    def publish(self, model: Any, version: int) -> Published:
        """Send the weights. Every rank must call this; rank 0 does the work, and all ranks get the result."""
        from accelerate import PartialState
        from accelerate.utils import broadcast_object_list

        from tersely.engines.vllm_weights import named_parameters

        state = PartialState()
        outcome: list[Any] = [None]
        if state.is_main_process:
            tied = bool(getattr(getattr(model, "module", model).config, "tie_word_embeddings", False))
            outcome[0] = self._send(named_parameters(model), f"{self._run}-{version}", tied, state.device)
        else:
            for _ in named_parameters(model):
                pass
        broadcast_object_list(outcome)
        published: Published = outcome[0]
        return published

    def close(self) -> None:
        for folder in self.folder.glob(f"{self._run}-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _send(self, parameters: Iterable[tuple[str, Any]], name: str, tied: bool, device: Any) -> Published:
        """Iterate to the end even after an error, because the other ranks take part in the gathers."""
        published = Published(name)
        down = published.down
        names = self._each(self.addresses, lambda at: self._begin(at, name), down)
        if not self._offers:
            self._offers = self._each(self.addresses, self._offer, {})
            transport = transport_for([offer.backend for offer in self._offers.values()], device)
            self._group = WeightGroup(transport, self._call, self.sync_s) if transport else None
        grouped = self._join(names)
        in_files = [at for at in names if at not in grouped]
        tensors: dict[str, Any] = {}
        bucket: list[tuple[str, Any]] = []
        for parameter, value in self._narrowed(parameters):
            if in_files:
                tensors[parameter] = value.cpu().contiguous().clone()
            if grouped:
                # a copy, because the next iteration frees a gathered shard or a merged adapter
                bucket.append((parameter, value.to(device, copy=True).contiguous()))
                if sum(tensor.nbytes for _, tensor in bucket) >= BUCKET_BYTES:
                    grouped, bucket = self._through_group(grouped, bucket, down), []
        grouped = self._through_group(grouped, bucket, down, last=True)
        loaded = self._through_folder(in_files, tensors, name, down) if in_files else []
        settled = self._each([*loaded, *grouped], lambda at: self._settle(at, name, tied), down)
        published.stale_head = any(settled.values())
        published.ways = {at: str(self._offers[at].backend) if at in grouped else "files" for at in settled}
        self._names = dict.fromkeys(settled, name)
        return published

    def _each(self, addresses: Iterable[str], work: Callable[[str], Any], down: dict[str, str]) -> dict[str, Any]:
        """Run `work` for all servers in parallel; a failed server goes to `down`."""

        def one(address: str) -> Any:
            try:
                return work(address)
            except ServerRefused as error:
                down[address] = (
                    f"{error} (weight sync uses vLLM's development endpoints, which need VLLM_SERVER_DEV_MODE=1 "
                    "and vLLM 0.27 or later)"
                )
            except (ServerDown, KeyError, TypeError) as error:
                down[address] = f"{address}: {error}"
            return None

        asked = list(addresses)
        with ThreadPoolExecutor(max(1, len(asked))) as pool:
            made = dict(zip(asked, pool.map(one, asked), strict=True))
        beat()
        return {address: result for address, result in made.items() if address not in down}

    def _begin(self, address: str, name: str) -> str:
        """Set a name for the weights on a server; returns the previous name."""
        found = str(self._call(address, "/weight_info")["weight_version"])
        self._call(address, "/update_weight_version", {"new_version": f"loading {name}"})
        return found

    def _offer(self, address: str) -> Offer:
        try:
            config = self._call(address, "/server_info?config_format=json", None, self.sync_s)["vllm_config"]
            transfer, kept = config["weight_transfer_config"], config["model_config"]["dtype"]
            return Offer(None if transfer is None else str(transfer["backend"]), str(kept).removeprefix("torch."))
        except (ServerDown, ServerRefused, KeyError, TypeError):
            return Offer()

    def _narrowed(self, parameters: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Convert to the servers' dtype if it is smaller; rounding here or there is equivalent."""
        import torch

        kept = {offer.dtype for offer in self._offers.values()}
        narrow = torch.bfloat16 if kept == {"bfloat16"} else torch.float16 if kept == {"float16"} else None
        for name, value in parameters:
            yield name, value.detach().to(narrow) if narrow and value.dtype == torch.float32 else value.detach()

    # ---- over a group ----

    def _join(self, names: Mapping[str, str]) -> list[str]:
        """Prepare the group; returns the servers that wait for a broadcast: those with the transport, or none on failure.

        `names`: the weight names that the servers reported.
        """
        if self._group is None:
            return []
        way = self._group.transport.backend
        addresses = [at for at in names if self._offers.get(at, Offer()).backend == way]
        if any(names[at] != self._names.get(at) for at in addresses):
            self._group.leave()  # a server that lost its name was restarted, and is in no group
        try:
            if addresses:
                self._group.join(addresses)
                self._group.begin()
        except Exception as error:  # NCCL can raise anything
            warnings.warn(f"weight sync over {way} failed; using the folder {self.folder} from now on: {error}")
            self._group = None
            return []
        return addresses

    def _through_group(
        self, addresses: list[str], tensors: list[tuple[str, Any]], down: dict[str, str], last: bool = False
    ) -> list[str]:
        """Broadcast; returns the servers that are still in the group: `addresses`, or none."""
        if not addresses or self._group is None:
            return []
        try:
            if tensors:
                self._group.send(tensors)
            if last:
                self._group.end()
            beat()
        except Exception as error:
            down.update({at: f"{at}: sending it the weights failed: {error}" for at in addresses})
            return []
        return addresses

    # ---- through the folder ----

    def _through_folder(
        self, addresses: list[str], tensors: dict[str, Any], name: str, down: dict[str, str]
    ) -> list[str]:
        """Write the weights to the folder once and make each server load them; returns the servers that did."""
        from safetensors.torch import save_file

        for left in self.folder.glob("[0-9a-f]*-[0-9]*"):  # from a run that was killed while servers loaded
            shutil.rmtree(left, ignore_errors=True)
        folder = (self.folder / name).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        body = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        loaded = self._each(addresses, lambda at: self._call(at, "/collective_rpc", body, self.sync_s), down)
        shutil.rmtree(folder, ignore_errors=True)
        return list(loaded)

    # ---- afterwards ----

    def _settle(self, address: str, name: str, tied: bool) -> bool:
        """Reset the prefix cache and set the name; True if a tied head may be outdated."""
        stale = tied and not self._repack(address)
        self._drop_prefixes(address)
        self._call(address, "/update_weight_version", {"new_version": name})
        return stale

    def _drop_prefixes(self, address: str) -> None:
        """Reset the prefix cache; waits for abandoned answers of a stopped server to end."""
        until = time.monotonic() + min(SETTLE_S, self.sync_s)
        while not self._call(address, "/reset_prefix_cache", {})["success"]:
            if time.monotonic() > until:
                raise ServerDown("could not reset the prefix cache: another client has requests in flight")
            time.sleep(0.2)

    def _repack(self, address: str) -> bool:
        """Repack a tied head; False without our worker extension, or if the model has no separate head."""
        try:
            answer = self._call(address, "/collective_rpc", {"method": "repack_tied_head"}, self.sync_s)
        except (ServerDown, ServerRefused):
            return False
        return all(result["packed"] for result in answer["results"])


TRANSPORTS: tuple[Transport, ...] = (NCCL(),)


def transport_for(backends: Iterable[str | None], device: Any) -> Transport | None:
    """The first transport that a server and this trainer both support."""
    found = set(backends)
    return next((one for one in TRANSPORTS if one.backend in found and one.usable(device)), None)
