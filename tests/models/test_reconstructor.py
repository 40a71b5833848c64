"""The base model: its size, what its tokens may see, and the jitter of its input."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from drdc.config.base import Base
from drdc.models.reconstructor import (
    Attention,
    DecoderLayer,
    EncoderLayer,
    PositionEmbedding,
    Reconstructor,
    draw_jitter,
    jitter,
    nearest_rows,
    neighbour_mask,
)
from drdc.runtime.errors import UserError

SIDE, WIDTH = 5, 8


def settings(**changes: Any) -> Base:
    small = {
        "hidden": WIDTH,
        "heads": 2,
        "feedforward": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "neighbour_window": 3,
        "dropout": 0.1,
        "precision": "fp32",
    }
    return Base(**small | changes)


def literal_mask(side: int, window: int) -> Tensor:
    """The definition, token by token: the window around a token, clipped at the border, is forbidden."""
    mask = torch.zeros(side * side, side * side, dtype=torch.bool)
    reach = (window - 1) // 2
    for row, column in itertools.product(range(side), repeat=2):
        for i in range(max(row - reach, 0), min(row + reach, side - 1) + 1):
            for j in range(max(column - reach, 0), min(column + reach, side - 1) + 1):
                mask[row * side + column, i * side + j] = True
    return mask


def sensitivity(output: Tensor, given: Tensor) -> Tensor:
    """(L, L) bool: whether output token i changes with given token j; both (1, L, D)."""
    rows = []
    for token in range(output.shape[1]):
        # random weights: the sum over a normalised token would not change with anything
        weights = torch.rand(output.shape[2], generator=torch.Generator().manual_seed(token))
        (gradient,) = torch.autograd.grad((output[0, token] * weights).sum(), given, retain_graph=True)
        rows.append(gradient[0].abs().amax(-1) > 0)
    return torch.stack(rows)


def tokens(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, SIDE * SIDE, WIDTH, generator=generator).requires_grad_()


# --- size ------------------------------------------------------------------------------------------------


def test_parameters_at_published_widths() -> None:
    with torch.device("meta"):
        model = Reconstructor(Base(), channels=272, feature_size=14)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 7_717_392  # 7.72 M


@pytest.mark.parametrize("batch", [1, 3])
def test_the_output_has_the_shape_of_the_input(batch: int) -> None:
    model = Reconstructor(settings(), channels=6, feature_size=SIDE)
    assert model(torch.randn(batch, 6, SIDE, SIDE)).shape == (batch, 6, SIDE, SIDE)


def test_linear_layers_start_from_xavier_and_zero_biases() -> None:
    torch.manual_seed(0)
    model = Reconstructor(settings(hidden=64), channels=32, feature_size=SIDE)
    bound = (6 / (32 + 64)) ** 0.5
    assert model.input.weight.abs().max() <= bound
    assert model.input.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert not model.input.bias.any()
    assert not model.output.bias.any()


# --- neighbour mask --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "window"), [(14, 7), (5, 3), (4, 1), (6, 5), (3, 7)])
def test_the_mask_is_the_window_around_each_token(side: int, window: int) -> None:
    assert torch.equal(neighbour_mask(side, window), literal_mask(side, window))


def test_a_token_sees_nothing_of_its_masked_neighbours() -> None:
    torch.manual_seed(0)
    mask, position = literal_mask(SIDE, 3), torch.randn(SIDE * SIDE, WIDTH)
    layer, x = EncoderLayer(settings()).eval(), tokens()
    seen = sensitivity(layer(x, position, mask), x)
    itself = torch.eye(SIDE * SIDE, dtype=torch.bool)  # reached by the residual connection alone
    assert torch.equal(seen, ~mask | itself)


def test_a_decoder_layer_sees_neither_neighbours_nor_the_token_itself() -> None:
    torch.manual_seed(0)
    mask, position = literal_mask(SIDE, 3), torch.randn(SIDE * SIDE, WIDTH)
    layer, memory, previous = DecoderLayer(settings(), SIDE * SIDE).eval(), tokens(1), tokens(2)
    output = layer(memory, previous, position, mask)
    assert torch.equal(sensitivity(output, memory), ~mask)
    assert torch.equal(sensitivity(output, previous), ~mask)


def test_the_model_uses_the_mask_in_every_layer() -> None:
    model = Reconstructor(settings(encoder_layers=2, decoder_layers=2), channels=6, feature_size=SIDE).eval()
    seen = []
    for module in model.modules():
        if isinstance(module, Attention):
            module.register_forward_pre_hook(lambda _, given: seen.append(given[3]))
    model(torch.randn(2, 6, SIDE, SIDE))
    assert len(seen) == 2 + 2 * 2
    assert all(torch.equal(mask, literal_mask(SIDE, 3)) for mask in seen)


def test_window_0_turns_the_mask_off() -> None:
    assert Reconstructor(settings(neighbour_window=0), channels=6, feature_size=SIDE).mask is None


# --- positions -------------------------------------------------------------------------------------------


def test_positions_are_rows_and_columns() -> None:
    embedding = PositionEmbedding(SIDE, WIDTH)
    grid = embedding().view(SIDE, SIDE, WIDTH)
    half = WIDTH // 2
    by_row, by_column = (grid[..., half:], grid[..., :half])
    assert (by_row == by_row[:, :1]).all()
    assert (by_column == by_column[:1]).all()
    assert len({tuple(p.tolist()) for p in grid.flatten(0, 1)}) == SIDE * SIDE


def test_tokens_are_read_and_written_in_the_same_order() -> None:
    """With the transformer cut out, the model is a linear map of each place's channels."""
    model = Reconstructor(settings(), channels=6, feature_size=SIDE).eval()
    model.norm, model.encoder = torch.nn.Identity(), torch.nn.ModuleList()  # type: ignore[assignment]
    model.decoder = torch.nn.ModuleList()
    x = torch.randn(2, 6, SIDE, SIDE)
    expected = torch.empty_like(x)
    for image, row, column in itertools.product(range(2), range(SIDE), range(SIDE)):
        expected[image, :, row, column] = model.output(model.input(x[image, :, row, column]))
    torch.testing.assert_close(model(x), expected)


# --- jitter ----------------------------------------------------------------------------------------------


def test_jitter_has_the_strength_of_its_token() -> None:
    torch.manual_seed(0)
    scale = 20.0
    x = torch.randn(200, 16, 32) * torch.linspace(0.1, 3, 16)[:, None]
    drawn = draw_jitter((200, 16, 32), 1.0, "cpu")
    assert drawn is not None
    noise = jitter(x, drawn, scale) - x
    strength = x.norm(dim=-1, keepdim=True) * scale / 32
    ratio = noise / strength
    assert ratio.mean().item() == pytest.approx(0, abs=0.02)
    assert ratio.std().item() == pytest.approx(1, rel=0.02)
    assert ratio.std((0, 2)).tolist() == pytest.approx(
        [1.0] * 16, rel=0.06
    )  # for weak and strong tokens alike
    flat = ratio.flatten(0, 1)
    correlation = torch.corrcoef(flat.t()) - torch.eye(32)
    assert correlation.abs().max() < 0.1  # independent in every channel


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.3, 60, 120), (1.0, 300, 300)])
def test_jitter_takes_its_share_of_the_batches(probability: float, low: int, high: int) -> None:
    torch.manual_seed(0)
    changed = sum(draw_jitter((2, 3, 4), probability, "cpu") is not None for _ in range(300))
    assert low <= changed <= high


def test_the_jitter_of_a_part_of_a_batch_is_a_part_of_its_jitter() -> None:
    """Several processes share a batch, each with its own part of the same noise."""
    model = Reconstructor(settings(dropout=0.0), channels=6, feature_size=SIDE)
    x, noise = torch.randn(4, 6, SIDE, SIDE), draw_jitter((4, SIDE * SIDE, 6), 1.0, "cpu")
    assert noise is not None
    whole = model(x, noise)
    torch.testing.assert_close(torch.cat([model(x[:2], noise[:2]), model(x[2:], noise[2:])]), whole)
    assert not torch.allclose(model(x), whole)


def test_without_noise_the_input_is_left_alone() -> None:
    model = Reconstructor(settings(dropout=0.0), channels=6, feature_size=SIDE).train()
    x = torch.randn(2, 6, SIDE, SIDE)
    before = x.clone()
    assert torch.equal(model(x), model.eval()(x))
    model(x, draw_jitter((2, SIDE * SIDE, 6), 1.0, "cpu"))
    assert torch.equal(x, before)


def test_in_bf16_it_is_about_the_same_and_in_float32_again() -> None:
    torch.manual_seed(0)
    exact = Reconstructor(settings(), channels=6, feature_size=SIDE).eval()
    rounded = Reconstructor(settings(precision="bf16"), channels=6, feature_size=SIDE).eval()
    rounded.load_state_dict(exact.state_dict())
    features = torch.randn(2, 6, SIDE, SIDE)
    with torch.no_grad():
        expected, given = exact(features), rounded(features)
    assert given.dtype == torch.float32
    assert not torch.equal(given, expected)
    torch.testing.assert_close(given, expected, rtol=0, atol=0.02 * expected.std().item())


def test_attention_has_a_dropout_of_its_own() -> None:
    def rates(**changes: Any) -> set[float]:
        model = Reconstructor(settings(**changes), channels=6, feature_size=SIDE)
        return {m.dropout for m in model.modules() if isinstance(m, torch.nn.MultiheadAttention)}

    assert rates(dropout=0.2) == {0.2}
    assert rates(dropout=0.2, attention_dropout=0.0) == {0.0}


def remembering(entries: int, remembered: list[int] | None = None) -> tuple[Reconstructor, Tensor]:
    """A model and its memory bank, of features as they are stored, with some of six channels or all."""
    torch.manual_seed(0)
    model = Reconstructor(settings(), channels=6, feature_size=SIDE).eval()
    model.memory = torch.randn(entries, 6 if remembered is None else len(remembered)).half()
    model.remembered = None if remembered is None else torch.tensor(remembered)
    return model, model.memory.float()


def test_each_feature_is_compared_with_the_nearest_one_of_the_memory_bank() -> None:
    model, known = remembering(40)
    features = torch.randn(3, 6, SIDE, SIDE)
    found = model.nearest(features)
    assert found.shape == features.shape
    for image, row, column in itertools.product(range(3), range(SIDE), range(SIDE)):
        distances = (known - features[image, :, row, column]).norm(dim=1)
        torch.testing.assert_close(found[image, :, row, column], known[distances.argmin()])


@pytest.mark.parametrize("rows", [1, 7, 40, 4096])
def test_the_nearest_row_is_found_in_parts_of_any_size(rows: int) -> None:
    torch.manual_seed(0)
    points, known = torch.randn(30, 5), torch.randn(40, 5).half()
    known[23] = known[11]  # of equal ones the first
    points[0] = known[11].float()
    expected = torch.cdist(points, known.float()).argmin(1)
    assert torch.equal(nearest_rows(points, known, rows), expected)
    assert nearest_rows(points, known, rows)[0] == 11


def test_what_is_in_the_memory_bank_is_nearest_to_itself() -> None:
    model, known = remembering(SIDE**2)
    features = known.T.reshape(1, 6, SIDE, SIDE)
    assert torch.equal(model.nearest(features), features)


def test_only_the_channels_that_the_memory_bank_has_are_compared() -> None:
    chosen = [1, 4, 5]
    model, known = remembering(40, chosen)
    features = torch.randn(2, 6, SIDE, SIDE)
    found = model.nearest(features)
    features[:, [0, 2, 3]] += torch.randn(2, 3, SIDE, SIDE)
    again = model.nearest(features)
    assert torch.equal(again[:, [0, 2, 3]], features[:, [0, 2, 3]]), "others add nothing to the error"
    assert torch.equal(again[:, chosen], found[:, chosen])
    for row, column in itertools.product(range(SIDE), range(SIDE)):
        distances = (known - features[0, chosen, row, column]).norm(dim=1)
        torch.testing.assert_close(found[0, chosen, row, column], known[distances.argmin()])


@pytest.mark.parametrize("remembered", [None, [0, 5]])
def test_a_trained_state_brings_its_memory_bank_along_whatever_its_size(
    remembered: list[int] | None,
) -> None:
    model, known = remembering(17, remembered)
    restored = Reconstructor(settings(), channels=6, feature_size=SIDE).eval()
    restored.restore(model.state_dict())
    assert restored.memory is not None
    assert torch.equal(restored.memory.float(), known)
    features = torch.randn(1, 6, SIDE, SIDE)
    assert torch.equal(restored.nearest(features), model.nearest(features))
    other = Reconstructor(settings(), channels=5, feature_size=SIDE)
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.restore(model.state_dict())


def test_without_a_memory_bank_there_is_nothing_to_compare_with() -> None:
    model = Reconstructor(settings(), channels=6, feature_size=SIDE)
    assert "memory" not in model.state_dict()
    with pytest.raises(UserError, match=r"base\.memory: the base model has no memory bank"):
        model.nearest(torch.randn(1, 6, SIDE, SIDE))
