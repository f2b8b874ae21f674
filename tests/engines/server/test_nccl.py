"""Who is asked what, and when a group is made anew; real groups are in test_weight_sync.py."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from tersely.core.http import ServerDown
from tersely.engines.server.nccl import WeightGroup, address_seen_from
from tersely.engines.server.weight_sync import ServedWeights, transport_for

SERVERS = ("http://a:1", "http://b:2")


class Recorded:
    """Servers of two and one workers, and a transport that ends when all of them were asked."""

    backend = "recorded"

    def __init__(self, refuse=()):
        self.calls, self.opened, self.sent, self.refuse = [], [], [], list(refuse)
        self.asked = threading.Semaphore(0)

    def call(self, address, path, body=None, timeout_s=60.0):
        self.calls.append((address, path, body))
        if path == "/get_world_size":
            return {"world_size": 2 if address == SERVERS[0] else 1}
        self.asked.release()
        if path in self.refuse:
            self.refuse.remove(path)
            raise ServerDown(f"{address}{path} answered 500")

    def open(self, host, port, world_size):
        for _ in SERVERS:
            assert self.asked.acquire(timeout=10), "the servers come while the trainer waits for them"
        self.opened.append((host, port, world_size))
        return object()

    def broadcast(self, group, tensors):
        self.sent.append([name for name, _ in tensors])

    def bodies(self, path):
        return {address: body for address, asked, body in self.calls if asked == path}


@pytest.fixture(autouse=True)
def on_loopback(monkeypatch):
    monkeypatch.setattr("tersely.engines.server.nccl.address_seen_from", lambda server: "127.0.0.1")


def joined(**given):
    recorded = Recorded(**given)
    return recorded, WeightGroup(recorded, recorded.call, 5.0)


def test_every_worker_has_a_place_of_its_own():
    recorded, group = joined()
    group.join(SERVERS)
    places = {at: body["init_info"] for at, body in recorded.bodies("/init_weight_transfer_engine").items()}
    assert [places[at]["rank_offset"] for at in SERVERS] == [1, 3]
    ((host, port, world_size),) = recorded.opened
    for place in places.values():
        assert (place["master_address"], place["master_port"], place["world_size"]) == (host, port, world_size)
    assert world_size == 4 and group.members == SERVERS


def test_the_group_meets_where_all_of_them_can_come(monkeypatch):
    """The first server is this machine's own, the second another's."""
    seen = {SERVERS[0]: "127.0.0.1", SERVERS[1]: "127.0.0.2"}
    monkeypatch.setattr("tersely.engines.server.nccl.address_seen_from", seen.get)
    monkeypatch.setattr("tersely.engines.server.nccl.ip_address", lambda at: SimpleNamespace(is_loopback=at[-1] == "1"))
    recorded, group = joined()
    group.join(SERVERS)
    assert recorded.opened[0][0] == "127.0.0.2"


def test_a_group_that_stands_is_kept_and_another_made_for_others():
    recorded, group = joined()
    for members in (SERVERS, SERVERS, SERVERS[::-1]):
        group.join(members)
    assert len(recorded.opened) == 2
    assert recorded.opened[0][1] != recorded.opened[1][1], "its port may still be held"


def test_tensors_are_announced_as_they_are_sent():
    recorded, group = joined()
    group.join(SERVERS)
    group.send([("head", torch.zeros(2, 3, dtype=torch.bfloat16)), ("bias", torch.zeros(4))])
    info = {"names": ["head", "bias"], "dtype_names": ["bfloat16", "float32"], "shapes": [[2, 3], [4]]}
    assert recorded.bodies("/update_weights") == dict.fromkeys(SERVERS, {"update_info": info})
    assert recorded.sent == [["head", "bias"]]


def test_an_update_that_was_left_open_is_ended_first():
    recorded, group = joined(refuse=["/start_weight_update"])
    group.join(SERVERS)
    group.begin()
    paths = [path for _, path, _ in recorded.calls[4:]]
    assert paths[:2] == ["/start_weight_update"] * 2 and paths[2:4] == ["/finish_weight_update"] * 2
    assert paths[4:] == ["/start_weight_update"] * 2


@pytest.mark.parametrize(
    "path", ["/get_world_size", "/init_weight_transfer_engine", "/update_weights", "/finish_weight_update"]
)
def test_what_a_server_says_wrong_is_raised_and_leaves_no_group(path):
    recorded, group = joined()
    work = recorded.call

    def failing(address, asked, body=None, timeout_s=60.0):
        answer = work(address, asked, body, timeout_s)
        if asked == path and address == SERVERS[1]:
            raise ServerDown(f"{address}{asked} answered 500")
        return answer

    group._call = failing
    with pytest.raises(ServerDown, match=f"http://b:2{path} answered 500"):
        group.join(SERVERS)
        group.send([("bias", torch.zeros(4))])
        group.end()
    assert group.members == ()


def test_nccl_needs_gpus_and_a_server_that_has_it():
    assert transport_for(["nccl"], torch.device("cpu")) is None
    assert transport_for([None, "ipc"], torch.device("cuda")) is None


def test_the_way_to_a_server_of_this_machine_is_loopback(monkeypatch):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert address_seen_from(f"http://127.0.0.1:{listening.getsockname()[1]}") == "127.0.0.1"
    with pytest.raises(ServerDown, match="http://127.0.0.1:1: "):
        address_seen_from("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("kept", "sent"),
    [
        (["torch.bfloat16"] * 2, torch.bfloat16),
        (["torch.float16"] * 2, torch.float16),
        (["torch.bfloat16", "torch.float32"], torch.float32),
        (["torch.bfloat16", None], torch.float32),
    ],
)
def test_weights_travel_in_the_type_that_the_servers_keep(tmp_path, kept, sent):
    """Half the bytes: the trainer's are float32, and a server on a GPU rounds them anyway."""
    loaded = []

    def call(address, path, body=None, timeout_s=60.0):
        dtype = kept[SERVERS.index(address)]
        if path.startswith("/server_info"):
            return {"vllm_config": {"weight_transfer_config": None, "model_config": {"dtype": dtype}}} if dtype else {}
        if body and body.get("method") == "reload_weights":
            loaded.append(load_file(f"{body['kwargs']['weights_path']}/model.safetensors"))
        return {"weight_version": "default", "success": True}

    model = torch.nn.Linear(3, 2)
    model.config = SimpleNamespace(tie_word_embeddings=False)
    published = ServedWeights(SERVERS, call, tmp_path, 5.0).publish(model, 4)
    assert published.ways == dict.fromkeys(SERVERS, "files") and not published.down
    for tensors in loaded:
        assert set(tensors) == {"weight", "bias"}
        torch.testing.assert_close(tensors["weight"], model.weight.detach().to(sent), rtol=0, atol=0)
    assert len(loaded) == 2 and not list(tmp_path.iterdir())


VLLM_HAS = """
import inspect
from tersely.engines.server.nccl import NCCL
from vllm.distributed.weight_transfer import nccl_common, nccl_engine, packed_tensor

place = {"master_address": "127.0.0.1", "master_port": 29500, "world_size": 3}
inspect.signature(nccl_common.trainer_init).bind(place)
inspect.signature(packed_tensor.packed_nccl_broadcast_producer).bind(iter([]), None, src=0, post_iter_func=None)
nccl_engine.NCCLWeightTransferInitInfo(rank_offset=1, packed=True, **place)
nccl_engine.NCCLWeightTransferUpdateInfo(names=["a"], dtype_names=["bfloat16"], shapes=[[2, 3]])
import torch
print(NCCL().usable(torch.device("cuda")), NCCL().usable(torch.device("cpu")))
"""


@pytest.mark.vllm
def test_vllm_has_what_the_transport_calls(warm_vllm):
    """In a process of its own: vLLM changes the one that imports it."""
    done = subprocess.run([warm_vllm, "-c", VLLM_HAS], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["True", "False"]


def test_nccl_sends_copies_that_are_made_and_frees_them_when_they_have_left(monkeypatch):
    """vLLM packs on streams of its own, which know nothing of the stream that the copies are made on."""
    from tersely.engines.server.nccl import NCCL

    done = []
    packed = SimpleNamespace(
        packed_nccl_broadcast_producer=lambda tensors, *_, **__: done.append([n for n, _ in tensors])
    )
    for name in ("vllm", "vllm.distributed", "vllm.distributed.weight_transfer"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(__path__=[]))
    monkeypatch.setitem(sys.modules, "vllm.distributed.weight_transfer.packed_tensor", packed)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: done.append("synchronised"))
    NCCL().broadcast(object(), [("a", torch.ones(1)), ("b", torch.ones(1))])
    assert done == ["synchronised", ["a", "b"], "synchronised"]
