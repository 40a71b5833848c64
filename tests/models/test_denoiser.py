"""The diffusion model's network against ADM's U-Net as diffusers builds it from literal arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from torch import nn

from drdc.config.diffusion import Diffusion
from drdc.models.denoiser import Denoiser, adm_unet, use_bf16


def settings(**changes: Any) -> Diffusion:
    small: dict[str, Any] = {
        "width": 64,
        "multipliers": [1, 2],
        "attention_levels": [1],
        "layers_per_block": 1,
        "precision": "fp32",
    }
    return Diffusion(**small | changes)


def plain_unet(channels: tuple[int, ...], plain_levels: int, layers: int) -> Any:
    """ADM with 6 -> 3 channels; attention on all levels but the first `plain_levels`."""
    attention_levels = len(channels) - plain_levels
    return UNet2DModel(
        in_channels=6,
        out_channels=3,
        block_out_channels=channels,
        layers_per_block=layers,
        down_block_types=("ResnetDownsampleBlock2D",) * plain_levels
        + ("AttnDownBlock2D",) * attention_levels,
        up_block_types=("AttnUpBlock2D",) * attention_levels + ("ResnetUpsampleBlock2D",) * plain_levels,
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=64,
        norm_num_groups=32,
        attn_norm_num_groups=32,
        norm_eps=1e-5,
        time_embedding_type="positional",
        flip_sin_to_cos=True,
        freq_shift=0,
    )


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights everywhere, so that nothing is hidden behind the zero initialisation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


def test_it_computes_what_the_literal_unet_computes() -> None:
    own = randomise(adm_unet(settings()))
    plain = plain_unet((64, 128), plain_levels=1, layers=1)
    plain.load_state_dict(own.state_dict())
    plain.eval()
    x, t = torch.randn(2, 6, 16, 16), torch.tensor([3, 250])
    with torch.no_grad():
        expected, given = plain(x, t).sample, own(x, t).sample
    assert expected.std() > 0.01
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-5 * expected.std().item())


def test_weights_rounded_once_give_what_autocast_gives() -> None:
    model = randomise(Denoiser(settings(precision="bf16"))).to(memory_format=torch.channels_last)
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([3, 250])
    with torch.no_grad():
        expected = model(x, x, t)
        given = model.for_inference()(x, x, t)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16, torch.float32}
    assert given.dtype == torch.float32
    assert torch.equal(given, expected)


def test_at_full_size_it_is_the_literal_unet() -> None:
    with torch.device("meta"):
        own = adm_unet(Diffusion())
        plain = plain_unet((128, 128, 256, 256, 512, 512), plain_levels=3, layers=2)
    assert {k: v.shape for k, v in own.state_dict().items()} == {
        k: v.shape for k, v in plain.state_dict().items()
    }
    ours, theirs = (
        {k: list(v) if isinstance(v, tuple) else v for k, v in m.config.items()} for m in (own, plain)
    )
    assert ours == theirs


@pytest.mark.parametrize(("width", "millions"), [(64, 34.6), (128, 138.3), (256, 552.8)])
def test_parameters_at_published_widths(width: int, millions: float) -> None:
    with torch.device("meta"):
        model = Denoiser(Diffusion(width=width))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_it_predicts_nothing_at_first_and_learns_at_once() -> None:
    model = Denoiser(settings())
    x = torch.randn(2, 3, 16, 16)
    noise = model(x, x, torch.tensor([1, 1000]))
    assert not noise.any()
    (noise - x).square().mean().backward()
    assert model.unet.conv_out.weight.grad.abs().max() > 0


def test_residual_and_attention_branches_start_at_zero() -> None:
    unet = adm_unet(settings())
    zero = {name for name, p in unet.named_parameters() if name.endswith("weight") and not p.any()}
    branches = {
        name for name, _ in unet.named_parameters() if name.endswith(("conv2.weight", "to_out.0.weight"))
    }
    assert len(branches) > 8
    assert zero == branches | {"conv_out.weight"}


def test_the_condition_is_seen_with_model_conditioning_only() -> None:
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([10, 20])
    one, other = torch.randn(2, 2, 3, 16, 16)
    seeing = Denoiser(settings())
    blind = Denoiser(settings(model_conditioning=False))
    assert seeing.unet.conv_in.in_channels == 6
    assert blind.unet.conv_in.in_channels == 3
    for model in (seeing, blind):
        randomise(model)
    with torch.no_grad():
        assert not torch.allclose(seeing(x, one, t), seeing(x, other, t))
        assert not torch.allclose(seeing(x, one, t), seeing(one, x, t))
        assert torch.equal(blind(x, one, t), blind(x, other, t))
        assert not torch.allclose(blind(x, one, t), blind(one, one, t))


def test_the_timestep_is_seen_for_each_image() -> None:
    model = randomise(Denoiser(settings()))
    x = torch.randn(1, 3, 16, 16).expand(2, -1, -1, -1)
    with torch.no_grad():
        noise = model(x, x, torch.tensor([1, 250]))
        alone = model(x[1:], x[1:], torch.tensor([250]))
    assert not torch.allclose(noise[0], noise[1])
    torch.testing.assert_close(noise[1:], alone, rtol=1e-4, atol=1e-5)


def test_half_precision_gives_float32_near_the_full_one() -> None:
    full, half = Denoiser(settings()), Denoiser(settings(precision="bf16"))
    randomise(full)
    half.load_state_dict(full.state_dict())
    x, t = torch.randn(2, 3, 16, 16), torch.tensor([10, 20])
    with torch.no_grad():
        expected, given = full(x, x, t), half.eval()(x, x, t)
    assert given.dtype == torch.float32
    assert not torch.equal(given, expected)
    assert (given - expected).norm() < 0.05 * expected.norm()


def test_precision_follows_its_setting() -> None:
    cpu = torch.device("cpu")
    assert use_bf16("bf16", cpu)
    assert not use_bf16("fp32", cpu)
    assert isinstance(use_bf16("auto", cpu), bool)
    assert not use_bf16("auto", torch.device("meta"))
