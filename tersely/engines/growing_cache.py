"""A key-value cache that appends in place: it allocates room ahead instead of copying all keys and values at every position."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

ROOM = 64
"""Positions allocated ahead, at least; a longer cache allocates a quarter of its length."""


def growing_cache(config: Any) -> DynamicCache:
    """An empty cache for inference; only the layers that keep every position append in place."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    if cache.layer_class_to_replicate is DynamicLayer:
        cache.layer_class_to_replicate = GrowingLayer
    return cache


class GrowingLayer(DynamicLayer):
    """Keys and values (B, H, T, D) are the first T positions of a larger buffer.

    An operation that replaces them (a selection of rows, a crop) abandons the buffer; the next update allocates another.
    """

    keys: Tensor | None
    values: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self._buffers: tuple[Tensor, Tensor] | None = None
        self._views: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if not self._has_room(end):
            room = end + max(ROOM, end // 4)
            self._buffers = (_wider(self.keys, key_states, start, room), _wider(self.values, value_states, start, room))
        assert self._buffers is not None
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., start:end, :] = new
        self._views = (self._buffers[0][..., :end, :], self._buffers[1][..., :end, :])
        self.keys, self.values = self._views
        return self._views

    def _has_room(self, end: int) -> bool:
        """True if keys and values are still the views of the buffers, and the buffers hold `end` positions."""
        if self._buffers is None or self._views is None:
            return False
        same = self.keys is self._views[0] and self.values is self._views[1]
        return same and end <= self._buffers[0].shape[-2]


def _wider(old: Tensor | None, new: Tensor, start: int, room: int) -> Tensor:
    """A buffer of `room` positions whose first `start` are those of `old`."""
    buffer = torch.empty((*new.shape[:-2], room, new.shape[-1]), dtype=new.dtype, device=new.device)
    if old is not None and start:
        buffer[..., :start, :] = old
    return buffer
