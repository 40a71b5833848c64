"""DiAD has the published parts, starts where Stable Diffusion stands, and each loss acts where it should."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawn import Twofold, batch_of, rows_of
from hub import hub
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from drdc.methods.diad import method as diad
from drdc.methods.diad.autoencoder import (
    Adversaries,
    adversarial_loss,
    discriminator,
    kl_autoencoder,
    normalised,
    unnormalised,
)
from drdc.methods.diad.denoiser import GuidedDenoiser
from drdc.methods.diad.method import DiAD
from drdc.methods.diad.pretrained import HUB, empty_prompt
from drdc.methods.diad.settings import Autoencoder, Denoiser
from drdc.methods.interface import Shapes
from drdc.runtime.digests import sha256_of
from drdc.runtime.errors import UserError

SHAPES = Shapes(image_size=32, channels=4, feature_size=2)
TINY: dict[str, Any] = {
    "pretrained": "scratch",
    "autoencoder": {"width": 32, "multipliers": [1, 1], "layers_per_block": 1, "discriminator_layers": 1},
    "denoiser": {"width": 32, "multipliers": [1, 1], "layers_per_block": 1, "heads": 2, "context_width": 64},
    "backbone": {"name": "tf_efficientnet_lite0", "weights": "package", "stages": [0, 1]},
    "steps": 2,
    "pools": 2,
    "pool_size": 2,
}


def tiny(**changes: Any) -> DiAD:
    torch.manual_seed(0)
    return DiAD(DiAD.Settings(**TINY | changes), SHAPES).eval()


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_at_the_published_size_it_has_the_published_parameters() -> None:
    """U-Net and autoencoder of Stable Diffusion 1.5, and its ControlNet, have these counts in their files.

    The fusion's are counted from its description: 640, 1280 and 1280 channels to each of three of 1280.
    """
    with torch.device("meta"):  # the sizes alone
        denoiser = GuidedDenoiser(Denoiser(), levels=4)
        autoencoder, judge = kl_autoencoder(Autoencoder()), discriminator(Autoencoder())
    assert count(denoiser.unet) == 859_520_964
    assert count(denoiser.guide) == 361_279_120
    assert count(denoiser.fusion) == 3 * sum(9 * c * 1280 + 1280 for c in (640, 1280, 1280)) == 110_603_520
    assert count(autoencoder) == 83_653_863
    convolutions = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512)
    assert count(judge) == convolutions + 64 + 2 * (128 + 256 + 512) + 1 == 2_765_633


@pytest.mark.parametrize("width", [16, 32, 48, 64])
def test_group_norms_of_small_networks_keep_what_channels_are_among_each_other(width: int) -> None:
    """With one channel in a group the mean of each, and so the image's colours, would be lost."""
    denoiser = Denoiser(**TINY["denoiser"] | {"width": width})
    with torch.device("meta"):
        networks = [kl_autoencoder(Autoencoder(width=width)), GuidedDenoiser(denoiser, levels=2)]
    norms = [layer for network in networks for layer in network.modules() if isinstance(layer, nn.GroupNorm)]
    assert norms
    assert all(norm.num_channels // norm.num_groups >= 4 for norm in norms)


def test_guidance_starts_as_the_u_net_alone_and_its_first_step_reaches_all_that_is_connected() -> None:
    """Zero convolutions and the zeros of the fusion give nothing at first, and none of them is dead."""
    denoiser = tiny().denoiser
    denoiser.begin_guidance()
    latents, timesteps, images = torch.randn(2, 4, 16, 16), torch.tensor([3, 700]), torch.randn(2, 3, 32, 32)
    plain = denoiser.unguided(latents, timesteps)
    assert torch.allclose(denoiser(latents, timesteps, images), plain, atol=1e-6)

    denoiser(latents, timesteps, images).square().mean().backward()
    each = denoiser.each
    connected = [*denoiser.guide.controlnet_down_blocks[-each:], denoiser.guide.controlnet_mid_block]
    weights = [layer.weight for layer in connected]
    weights += [conv.weight for row in denoiser.fusion.convolutions for conv in row]
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in weights)
    assert all(p.grad is None for p in denoiser.guide.controlnet_down_blocks[:-each].parameters())


def test_without_fusion_only_the_middle_of_the_guide_is_added_and_the_table_says_so() -> None:
    model = tiny(denoiser=TINY["denoiser"] | {"fusion": "none"})
    model.denoiser.begin_guidance()
    given = torch.randn(1, 4, 16, 16), torch.tensor([500]), torch.randn(1, 3, 32, 32)
    before = model.denoiser(*given)
    for convolution in model.denoiser.guide.controlnet_down_blocks:
        nn.init.normal_(convolution.weight)
    assert torch.equal(model.denoiser(*given), before)
    nn.init.normal_(model.denoiser.guide.controlnet_mid_block.weight)
    assert not torch.allclose(model.denoiser(*given), before)
    settings = model.settings.model_dump()
    assert "without feature fusion" in DiAD.cited(settings, "any")
    assert "without feature fusion" not in DiAD.cited(tiny().settings.model_dump(), "any")


def test_under_guidance_only_the_u_nets_decoder_is_free_and_the_guide_is_a_copy_of_its_own() -> None:
    denoiser = tiny().denoiser
    denoiser.begin_guidance()
    denoiser.guide.conv_in.weight.data.add_(1)  # as after training
    trained = {name for name, parameter in denoiser.unet.named_parameters() if parameter.requires_grad}
    assert {name.partition(".")[0] for name in trained} == {"up_blocks", "conv_norm_out", "conv_out"}
    assert not any("up_blocks" in name for name, p in denoiser.unet.named_parameters() if not p.requires_grad)
    assert not torch.equal(denoiser.guide.conv_in.weight, denoiser.unet.conv_in.weight)


def test_the_image_steers_the_reconstruction_once_the_guide_is_trained() -> None:
    method = tiny()
    method.denoiser.begin_guidance()
    latents, timesteps = torch.randn(1, 4, 16, 16), torch.tensor([500])
    optimizer = torch.optim.AdamW([p for p in method.denoiser.parameters() if p.requires_grad], 1e-2)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    for _ in range(4):  # the first step moves the zero convolutions, the second what is before them
        optimizer.zero_grad()
        (method.denoiser(latents, timesteps, images[:1]) - 1).square().mean().backward()
        optimizer.step()
    one, other = (method.denoiser(latents, timesteps, image[None]) for image in images)
    assert not torch.allclose(one, other, atol=1e-6)


def test_autoencoder_and_discriminator_are_each_trained_by_their_own_loss() -> None:
    """The discriminator's gradient is that of the hinge loss; the autoencoder's has the wanted share."""
    torch.manual_seed(0)
    settings = Autoencoder(**TINY["autoencoder"] | {"perceptual_weight": 0.0, "discriminator_width": 4})
    autoencoder, judge = kl_autoencoder(settings), discriminator(settings).eval()
    judge[-1].weight.data.mul_(100)  # a gradient that is large beside the 1e-4 against division by zero
    images, last = torch.randn(2, 3, 16, 16), autoencoder.decoder.conv_out.weight

    def gradients(weight: float) -> tuple[Tensor, Tensor]:
        torch.manual_seed(1)
        own = settings.model_copy(update={"discriminator_weight": weight})
        loss = adversarial_loss(Adversaries(autoencoder, judge), images, lambda _: [], own)
        return torch.autograd.grad(loss, (last, judge[0].weight))

    (alone, judged), (both, judged_again) = gradients(0.0), gradients(0.5)
    assert torch.allclose(judged, judged_again)
    assert judged.abs().max() > 0
    assert ((both - alone).norm() / alone.norm()).item() == pytest.approx(0.5, rel=0.02)


def test_images_are_normalised_as_imagenets_and_back() -> None:
    images = torch.rand(2, 3, 4, 4) * 2 - 1
    assert torch.allclose(unnormalised(normalised(images)), images, atol=1e-6)
    grey = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 2 - 1
    assert normalised(grey).abs().max() < 1e-6


def test_what_is_given_back_of_an_image_does_not_depend_on_its_batch() -> None:
    torch.manual_seed(0)
    model, images = tiny().eval(), torch.rand(3, 3, 32, 32) * 2 - 1
    with torch.inference_mode():
        whole, alone = model.reconstructed(images), model.reconstructed(images[1:2])
        again = model.reconstructed(images[[1, 1]])
    assert torch.allclose(whole[1:2], alone, atol=1e-4)
    assert torch.allclose(again[0], again[1], atol=1e-4)
    assert not torch.allclose(whole[0], whole[1], atol=1e-2)


@pytest.mark.parametrize(("start", "noised"), [(1000, 999), (400, 361), (100, 91)])
def test_a_lower_start_is_noised_to_the_timestep_that_the_network_is_told(
    start: int, noised: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published one as the authors do it: noise alone, whatever is told."""
    model, told, levels = tiny(start=start, steps=10), [], []
    denoise = model.denoiser.forward
    monkeypatch.setattr(
        model.denoiser, "forward", lambda x, t, hint: (told.append(int(t[0])), denoise(x, t, hint))[1]
    )
    noise = diad.q_sample
    monkeypatch.setattr(
        diad, "q_sample", lambda x, level, eps: (levels.append(level), noise(x, level, eps))[1]
    )
    with torch.inference_mode():
        model.reconstructed(torch.zeros(1, 3, 32, 32))
    assert len(told) == 10
    assert levels == [model.alpha_bar[noised]]
    assert told[0] == (901 if start == 1000 else noised)


def test_the_image_score_is_the_maximum_after_all_pools() -> None:
    heatmap = torch.zeros(1, 32, 32)
    heatmap[0, 8, 8] = 1.0
    features, images = torch.zeros(1, 4, 2, 2), torch.zeros(1, 3, 32, 32)
    for pools, value in (
        (1, 1 / 4),
        (2, 1 / 4),
        (3, 9 / 64),
    ):  # the square of what a row of C(p, i) / 2^p has
        score = tiny(pools=pools).image_scores(heatmap, images, features).item()
        assert score == pytest.approx(value)


def test_it_gives_the_pattern_back_without_the_defect_and_so_finds_it(
    fits: Callable[[str], Twofold],
) -> None:
    """Started from a latent with more noise than image: what is given back comes from the guide."""
    layout, model, _ = fits("diad")
    assert model.method.alpha_bar[model.method.settings.start - 1] < 0.5
    given, masks = batch_of(layout, model, rows_of("defect")).images, np.load(layout.masks)[rows_of("defect")]
    with torch.inference_mode():
        error = (model.method.reconstructed(given) - given).abs().mean(1).numpy()
    assert error[masks].mean() > 2 * error[~masks].mean()


def text_state() -> dict[str, Tensor]:
    """State of a tiny text network with the names of CLIP's: 2 layers of one head, 6 words, 5 positions."""
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.token_embedding.weight": (6, 64),
        "embeddings.position_embedding.weight": (5, 64),
    }
    for layer in ("encoder.layers.0.", "encoder.layers.1."):
        shapes |= {f"{layer}self_attn.{part}_proj.weight": (64, 64) for part in ("q", "k", "v", "out")}
        shapes |= {f"{layer}mlp.fc1.weight": (96, 64), f"{layer}mlp.fc2.weight": (64, 96)}
        shapes |= {f"{layer}layer_norm{i}.weight": (64,) for i in (1, 2)}
    shapes |= {"final_layer_norm.weight": (64,)}
    biases = {k.replace("weight", "bias"): v[:1] for k, v in shapes.items() if "embedding" not in k}
    torch.manual_seed(7)
    return {f"text_model.{name}": 0.2 * torch.randn(shape) for name, shape in (shapes | biases).items()}


def stable_diffusion(folder: Path) -> None:
    """Write a folder in the format of Stable Diffusion, with networks of the tiny sizes."""
    torch.manual_seed(7)
    kl_autoencoder(Autoencoder(**TINY["autoencoder"])).save_pretrained(folder / "vae")
    GuidedDenoiser(Denoiser(**TINY["denoiser"]), levels=2).unet.save_pretrained(folder / "unet")
    (folder / "text_encoder").mkdir()
    save_file(text_state(), folder / "text_encoder" / "model.safetensors")


def test_a_folder_of_stable_diffusion_fills_it_and_a_restored_one_does_without(tmp_path: Path) -> None:
    folder = tmp_path / "sd"
    stable_diffusion(folder)
    method = tiny(pretrained=str(folder))
    torch.manual_seed(7)
    expected = kl_autoencoder(Autoencoder(**TINY["autoencoder"])).state_dict()
    for name, value in method.autoencoder.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert torch.equal(method.denoiser.context, empty_prompt(text_state()))
    assert method.denoiser.context.shape == (1, 5, 64)

    folder.rename(tmp_path / "gone")
    weights = method.state_dict()
    again = DiAD(method.settings, SHAPES, weights).eval()
    again.restore(weights)
    images, maps = torch.rand(1, 3, 32, 32) * 2 - 1, []
    for one in (method, again):
        torch.manual_seed(0)
        with torch.inference_mode():
            maps.append(one.heatmaps(images, torch.zeros(1, 4, 2, 2)))
    assert torch.equal(maps[0], maps[1])


def test_stable_diffusion_is_fetched_once_and_loaded_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "hub" / HUB
    stable_diffusion(folder)
    settings = tiny(pretrained=str(folder)).settings.model_copy(update={"pretrained": "hub"})
    with hub(tmp_path / "hub") as server:
        server.stands_in(monkeypatch, tmp_path / "cache")
        extractor, *parts = DiAD.pretrained(settings)
        assert (extractor.name, extractor.source) == (settings.backbone.name, settings.backbone.weights)
        assert {part.name: part.digest() for part in parts} == {
            f"{HUB}/vae": sha256_of(folder / "vae/diffusion_pytorch_model.safetensors"),
            f"{HUB}/unet": sha256_of(folder / "unet/diffusion_pytorch_model.safetensors"),
            f"{HUB}/text_encoder": sha256_of(folder / "text_encoder/model.safetensors"),
        }
        server.asked.clear()
        server.stands_in(monkeypatch, tmp_path / "cache", offline=True)
        expected = load_file(folder / "unet/diffusion_pytorch_model.safetensors")
        loaded = tiny(pretrained="hub").denoiser.unet.state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in expected.items())
        server.stands_in(monkeypatch, tmp_path / "empty", offline=True)
        with pytest.raises(
            UserError, match=r"Stable Diffusion 1\.5 is not in the hub's cache.*`drdc weights`"
        ):
            tiny(pretrained="hub")
        assert not server.asked


def test_the_empty_prompt_is_what_torchs_own_transformer_makes_of_it() -> None:
    """The word of the start, then that of the end; causal layers whose GELU is x · sigmoid(1.702 x)."""
    state = {name.removeprefix("text_model."): value for name, value in text_state().items()}
    tokens = state["embeddings.token_embedding.weight"][[4, 5, 5, 5, 5]]
    hidden = (tokens + state["embeddings.position_embedding.weight"])[None]
    for number in range(2):
        layer = nn.TransformerEncoderLayer(
            64, 1, 96, 0.0, lambda x: x * torch.sigmoid(1.702 * x), batch_first=True, norm_first=True
        )
        own = {k.removeprefix(f"encoder.layers.{number}."): v for k, v in state.items() if f".{number}." in k}
        given = {}
        for kind in ("weight", "bias"):
            given[f"self_attn.in_proj_{kind}"] = torch.cat([own[f"self_attn.{p}_proj.{kind}"] for p in "qkv"])
            given |= {f"norm{i}.{kind}": own[f"layer_norm{i}.{kind}"] for i in (1, 2)}
            given |= {f"linear{i}.{kind}": own[f"mlp.fc{i}.{kind}"] for i in (1, 2)}
            given[f"self_attn.out_proj.{kind}"] = own[f"self_attn.out_proj.{kind}"]
        layer.load_state_dict(given)
        hidden = layer(hidden, nn.Transformer.generate_square_subsequent_mask(5), is_causal=True)
    expected = F.layer_norm(hidden, (64,), state["final_layer_norm.weight"], state["final_layer_norm.bias"])
    assert torch.allclose(empty_prompt(text_state()), expected, atol=1e-5)


def test_weights_that_are_missing_or_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    folder = tmp_path / "sd"
    with pytest.raises(UserError, match=r"pretrained: .*no such folder.*vae, unet and text_encoder"):
        tiny(pretrained=str(folder))
    stable_diffusion(folder)
    sizes = TINY["denoiser"] | {"multipliers": [1, 2]}
    with pytest.raises(UserError, match="unet does not fit the sizes in the configuration"):
        tiny(pretrained=str(folder), denoiser=sizes)
    (folder / "text_encoder" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"pretrained: Stable Diffusion 1\.5 cannot be loaded"):
        tiny(pretrained=str(folder))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"denoiser": TINY["denoiser"] | {"multipliers": [1] * 5}}, "denoiser.multipliers"),
        ({"steps": 600}, "steps: 600"),
        ({"denoiser": TINY["denoiser"] | {"heads": 3}}, "denoiser.heads"),
        ({"pools": 8, "pool_size": 8}, "pool_size"),
        ({"autoencoder": TINY["autoencoder"] | {"discriminator_layers": 4}}, "discriminator_layers"),
    ],
)
def test_settings_that_do_not_fit_are_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        tiny(**changes)
