"""The cache that appends in place holds what transformers' own cache holds, whatever is done to it."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache, LlamaConfig, MistralConfig
from transformers.cache_utils import DynamicLayer

from tersely.engines.growing_cache import ROOM, GrowingLayer, growing_cache

CONFIG = LlamaConfig(num_hidden_layers=2, hidden_size=32, num_attention_heads=2, vocab_size=16, intermediate_size=8)


def append(caches, rows, positions, seed):
    generator = torch.Generator().manual_seed(seed)
    for layer in range(2):
        keys, values = (torch.randn(rows, 2, positions, 16, generator=generator) for _ in range(2))
        own, theirs = (cache.update(keys, values, layer) for cache in caches)
        assert all(torch.equal(a, b) for a, b in zip(own, theirs, strict=True))


def test_equal_to_transformers_through_every_operation():
    caches = growing_cache(CONFIG), DynamicCache(config=CONFIG)
    append(caches, 4, 5, 0)
    for step in range(ROOM + 10):  # over the border of the first buffer
        append(caches, 4, 1, step + 1)
    for cache in caches:
        cache.batch_select_indices(torch.tensor([3, 1, 1]))
    append(caches, 3, 1, 101)
    for cache in caches:
        cache.crop(-6)
    append(caches, 3, 2, 102)
    for cache in caches:
        cache.batch_repeat_interleave(2)
        cache.reorder_cache(torch.tensor([5, 0, 2, 1, 4, 3]))
    append(caches, 6, 1, 103)
    assert caches[0].get_seq_length() == caches[1].get_seq_length() == 5 + ROOM + 10 + 1 - 6 + 2 + 1


def test_a_position_is_written_without_a_copy_of_the_others():
    cache = growing_cache(CONFIG)
    keys = torch.randn(2, 2, 3, 16)
    first, _ = cache.update(keys, keys, 0)
    second, _ = cache.update(keys[:, :, :1], keys[:, :, :1], 0)
    assert second.data_ptr() == first.data_ptr()


@pytest.mark.parametrize("window", [None, 8])
def test_a_sliding_layer_stays_one(window):
    config = MistralConfig(num_hidden_layers=2, hidden_size=32, num_attention_heads=2, sliding_window=window)
    own, theirs = growing_cache(config).layers, DynamicCache(config=config).layers
    assert [type(layer) for layer in own] == [
        GrowingLayer if type(layer) is DynamicLayer else type(layer) for layer in theirs
    ]
