"""The base model: a transformer that reconstructs the feature map (Sec. 3.1; architecture of UniAD).

Three things keep it from copying its input: a token may not attend to its neighbours, each decoder layer
starts from learned queries of its own, and in training feature jitter is added to the input.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drdc.config.base import Base
from drdc.config.fusion import BASE_SCALES
from drdc.equations.fusion import feature_error
from drdc.runtime.devices import use_bf16
from drdc.runtime.errors import UserError


class PositionEmbedding(nn.Module):
    """Learned 2-D position embedding: a row table and a column table of half the width each."""

    def __init__(self, side: int, hidden: int) -> None:
        super().__init__()
        self.row = nn.Parameter(torch.rand(side, hidden // 2))
        self.column = nn.Parameter(torch.rand(side, hidden // 2))

    def forward(self) -> Tensor:
        """(side², hidden)."""
        side = len(self.row)
        row = self.row[:, None].expand(-1, side, -1)
        column = self.column[None].expand(side, -1, -1)
        return torch.cat([column, row], -1).flatten(0, 1)


class Heads(nn.MultiheadAttention):
    """Attention with several heads; on a CPU in float32: the way back through it in bf16 is slow there."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:  # type: ignore[override]
        """(B, L, D) each, and a mask (L, L), true where attending is forbidden -> (B, L, D)."""
        assert self.in_proj_weight is not None
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (
            F.linear(tokens, weight, bias).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for tokens, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        allowed, dropout = None if mask is None else ~mask, self.dropout if self.training else 0.0
        if q.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):
                found = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), allowed, dropout)
        else:
            found = F.scaled_dot_product_attention(q, k, v, allowed, dropout)
        return F.linear(found.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)


class Attention(nn.Module):
    """Post-norm residual attention; positions are added to queries and keys, not to values."""

    def __init__(self, settings: Base) -> None:
        super().__init__()
        s = settings
        dropout = s.dropout if s.attention_dropout is None else s.attention_dropout
        self.attend = Heads(s.hidden, s.heads, dropout=dropout, batch_first=True)
        self.dropout = nn.Dropout(s.dropout)
        self.norm = nn.LayerNorm(s.hidden)

    def forward(self, query: Tensor, memory: Tensor, position: Tensor, mask: Tensor | None) -> Tensor:
        """query, memory (B, L, D), position (L, D), mask (L, L) true where attending is forbidden."""
        q, k = query + position, memory + position
        update = self.attend(q, k, memory, mask)
        return self.norm(query + self.dropout(update))


class FeedForward(nn.Module):
    """Post-norm residual two-layer perceptron."""

    def __init__(self, settings: Base) -> None:
        super().__init__()
        s = settings
        self.layers = nn.Sequential(
            nn.Linear(s.hidden, s.feedforward),
            nn.ReLU(),
            nn.Dropout(s.dropout),
            nn.Linear(s.feedforward, s.hidden),
        )
        self.dropout = nn.Dropout(s.dropout)
        self.norm = nn.LayerNorm(s.hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.dropout(self.layers(x)))


class EncoderLayer(nn.Module):
    """Neighbour-masked self-attention and feed-forward."""

    def __init__(self, settings: Base) -> None:
        super().__init__()
        self.attention = Attention(settings)
        self.feedforward = FeedForward(settings)

    def forward(self, x: Tensor, position: Tensor, mask: Tensor | None) -> Tensor:
        return self.feedforward(self.attention(x, x, position, mask))


class DecoderLayer(nn.Module):
    """Own learned queries attend first to the encoder's output, then to the previous layer's."""

    def __init__(self, settings: Base, tokens: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(tokens, settings.hidden))
        self.attention_memory = Attention(settings)
        self.attention_previous = Attention(settings)
        self.feedforward = FeedForward(settings)

    def forward(self, memory: Tensor, previous: Tensor, position: Tensor, mask: Tensor | None) -> Tensor:
        query = self.query.expand(memory.shape[0], -1, -1)  # `len` would fix the batch of an ONNX file
        query = self.attention_memory(query, memory, position, mask)
        return self.feedforward(self.attention_previous(query, previous, position, mask))


#: The buffers of the memory bank: its features, and the channels that it has, where not all.
BANK = ("memory", "remembered")


class Reconstructor(nn.Module):
    """f_org -> f_rec, both (B, C, h, w) (Eq. 1).

    With C = 272, 14×14 tokens and the published widths it has 7.72 M trainable parameters.
    """

    mask: Tensor | None
    memory: Tensor | None
    remembered: Tensor | None

    def __init__(self, settings: Base, channels: int, feature_size: int) -> None:
        super().__init__()
        self.settings, self.feature_size = settings, feature_size
        self.input = nn.Linear(channels, settings.hidden)
        self.position = PositionEmbedding(feature_size, settings.hidden)
        self.encoder = nn.ModuleList(EncoderLayer(settings) for _ in range(settings.encoder_layers))
        tokens = feature_size**2
        self.decoder = nn.ModuleList(DecoderLayer(settings, tokens) for _ in range(settings.decoder_layers))
        self.norm = nn.LayerNorm(settings.hidden)
        self.output = nn.Linear(settings.hidden, channels)
        window = settings.neighbour_window
        mask = neighbour_mask(feature_size, window) if window else None
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("memory", None)  # (M, C') float16: features of normal images, see `nearest`
        self.register_buffer("remembered", None)  # (C',) int64: the channels that it has, where not all
        self.apply(_initialise)

    def forward(self, features: Tensor, noise: Tensor | None = None) -> Tensor:
        """`noise` jitters the input in training, (B, h·w, C) as `draw_jitter` gives it."""
        tokens = features.flatten(2).transpose(1, 2)
        if noise is not None:
            tokens = jitter(tokens, noise, self.settings.jitter_scale)
        bf16 = use_bf16(self.settings.precision, features.device)
        with torch.autocast(features.device.type, torch.bfloat16, enabled=bf16):
            reconstructed = self._reconstruct(tokens)
        return reconstructed.float().transpose(1, 2).reshape(features.shape)

    def expected(self, features: Tensor, base_map: str) -> Tensor:
        """What features (B, C, h, w) are compared with in Eq. 2, the same; `base_map`: as `fusion.base`."""
        found: Tensor = self.nearest(features) if base_map == "memory" else self(features)
        return found

    def errors(self, features: Tensor, base_map: str) -> dict[int, Tensor]:
        """The base heatmaps (Eq. 2) of features (B, C, h, w) by scale; `base_map`: as `fusion.base`."""
        expected = self.expected(features, base_map)
        return {scale: feature_error(features, expected, scale) for scale in BASE_SCALES}

    def nearest(self, features: Tensor) -> Tensor:
        """The feature in the memory bank that is nearest to each, both (B, C, h, w): ours, not the paper's.

        Channels that the bank does not have are as they were given, so that they add nothing to Eq. 2.

        Raises:
            UserError: the model has no memory bank.
        """
        if self.memory is None:
            raise UserError("base.memory", "the base model has no memory bank", "raise it and train again")
        tokens = features.flatten(2).transpose(1, 2)
        compared = tokens if self.remembered is None else tokens[..., self.remembered]
        places = nearest_rows(compared.flatten(0, 1), self.memory).reshape(tokens.shape[:2])
        found = self.memory[places].float()
        if self.remembered is not None:
            found = tokens.index_copy(2, self.remembered, found)
        return found.transpose(1, 2).reshape(features.shape)

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Load a trained state, with its memory bank where it has one."""
        for name in weights.keys() & set(BANK):
            setattr(self, name, torch.empty_like(weights[name]))
        self.load_state_dict(weights)

    def _reconstruct(self, tokens: Tensor) -> Tensor:
        """(B, h·w, C) -> the same."""
        x = self.input(tokens)
        position = self.position()
        for encode in self.encoder:
            x = encode(x, position, self.mask)
        memory = previous = x
        for decode in self.decoder:
            previous = decode(memory, previous, position, self.mask)
        reconstructed: Tensor = self.output(self.norm(previous))
        return reconstructed


def nearest_rows(points: Tensor, known: Tensor, rows: int = 4096) -> Tensor:
    """For each of (N, C) the row of `known`, (M, C), that is nearest, the first of several: (N,) int64.

    So many `rows` at a time: their distances stay in a processor's cache, and of all together there would be
    118 MB for one image and 150,000 rows.
    """
    least = points.new_full((len(points),), torch.inf)
    nearest = torch.zeros_like(least, dtype=torch.int64)
    for start in range(0, len(known), rows):
        part = known[start : start + rows].float()
        lengths = part.square().sum(1)
        distance, row = torch.addmm(lengths, points, part.T, alpha=-2).min(1)  # without the point's length
        nearer = distance < least
        least, nearest = torch.where(nearer, distance, least), torch.where(nearer, row + start, nearest)
    return nearest


def neighbour_mask(side: int, window: int) -> Tensor:
    """(side², side²) bool, true where the second token is within `window`×`window` around the first."""
    place = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"), -1).flatten(
        0, 1
    )
    distance = (place[:, None] - place[None]).abs().amax(-1)
    return distance <= window // 2


def jitter(tokens: Tensor, noise: Tensor, scale: float) -> Tensor:
    """Feature jitter: N(0, 1) `noise` times its standard deviation `scale` · ‖token‖₂ / C; all (B, L, C)."""
    strength = tokens.norm(dim=-1, keepdim=True) * scale / tokens.shape[-1]
    return tokens + strength * noise


def draw_jitter(shape: tuple[int, int, int], probability: float, device: str) -> Tensor | None:
    """Noise (B, L, C) of the feature jitter for a batch, None for the fraction of batches without any.

    It is drawn in the layout of the tokens, channels first, on which the numbers depend.
    """
    if torch.rand(()).item() >= probability:
        return None
    batch, tokens, channels = shape
    return torch.randn_like(torch.empty(batch, channels, tokens, device=device).transpose(1, 2))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
