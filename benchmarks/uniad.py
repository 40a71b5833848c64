"""UniAD's transformer as its description has it (docs/method.md), in plain `torch.nn`.

The yardstick of the base model's speed: `nn.MultiheadAttention` as it comes, tokens first, in float32.
You et al., "A Unified Model for Multi-class Anomaly Detection", NeurIPS 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Layer(nn.Module):
    """Post-norm attention blocks, then a feed-forward network; each with a residual connection."""

    def __init__(self, attentions: int, hidden: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(
            nn.MultiheadAttention(hidden, heads, dropout) for _ in range(attentions)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(attentions + 1))
        self.feedforward = nn.Sequential(
            nn.Linear(hidden, feedforward), nn.ReLU(), nn.Dropout(dropout), nn.Linear(feedforward, hidden)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memories: list[Tensor], position: Tensor, mask: Tensor) -> Tensor:
        """x and each of the memories, one for each attention, (L, B, D)."""
        for attention, norm, memory in zip(self.attentions, self.norms, memories, strict=False):
            update, _ = attention(x + position, memory + position, memory, attn_mask=mask)
            x = norm(x + self.dropout(update))
        return self.norms[-1](x + self.dropout(self.feedforward(x)))


class UniAD(nn.Module):
    """Features (B, C, h, w) -> reconstructed features; in training feature jitter is added to the input."""

    mask: Tensor

    def __init__(
        self,
        channels: int = 272,
        side: int = 14,
        hidden: int = 256,
        heads: int = 8,
        feedforward: int = 1024,
        layers: int = 4,
        dropout: float = 0.1,
        window: int = 7,
        scale: float = 20.0,
    ) -> None:
        super().__init__()
        self.side, self.scale = side, scale
        sizes = (hidden, heads, feedforward, dropout)
        self.input, self.output = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.row, self.column = (nn.Parameter(torch.rand(side, hidden // 2)) for _ in range(2))
        self.queries = nn.Parameter(torch.randn(layers, side**2, hidden))
        self.encoder = nn.ModuleList(Layer(1, *sizes) for _ in range(layers))
        self.decoder = nn.ModuleList(Layer(2, *sizes) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        place = torch.arange(side**2)
        rows, columns = place // side, place % side
        far = torch.maximum((rows[:, None] - rows).abs(), (columns[:, None] - columns).abs()) > window // 2
        self.register_buffer("mask", torch.where(far, 0.0, -torch.inf))

    def forward(self, features: Tensor) -> Tensor:
        tokens = features.flatten(2).permute(2, 0, 1)  # (L, B, C)
        if self.training:
            norms = tokens.norm(dim=-1, keepdim=True)
            tokens = tokens + torch.randn_like(tokens) * norms * self.scale / tokens.shape[-1]
        position = torch.cat(
            [self.column.repeat(self.side, 1), self.row.repeat_interleave(self.side, 0)], 1
        ).unsqueeze(1)
        x = self.input(tokens)
        for layer in self.encoder:
            x = layer(x, [x], position, self.mask)
        memory = previous = x
        for layer, query in zip(self.decoder, self.queries, strict=True):
            start = query.unsqueeze(1).expand_as(memory)
            previous = layer(start, [memory, previous], position, self.mask)
        return self.output(self.norm(previous)).permute(1, 2, 0).reshape(features.shape)
