"""What each network gives for fixed weights and inputs; docs/parity.md compares it with the authors' code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drdc.config.backbone import Backbone
from drdc.config.base import Base
from drdc.config.diffusion import Diffusion
from drdc.equations.diffusion import equally_spaced, linear_schedule, reverse_chain
from drdc.equations.fusion import feature_error, image_score, upsample_base
from drdc.methods.anomalib.method import Anomalib
from drdc.methods.ast import Asymmetric, flow
from drdc.methods.diad.autoencoder import kl_autoencoder
from drdc.methods.diad.denoiser import GuidedDenoiser
from drdc.methods.diad.method import DiAD
from drdc.methods.diad.settings import Autoencoder
from drdc.methods.diad.settings import Denoiser as GuidedSettings
from drdc.methods.interface import Shapes
from drdc.methods.psvdd import PatchSVDD, distances, pixel_means
from drdc.methods.simplenet import SimpleNet
from drdc.models.backbone import FeatureExtractor
from drdc.models.denoiser import Denoiser
from drdc.models.reconstructor import Reconstructor

Values = dict[str, Tensor]


def numbers(*shape: int, seed: int = 1) -> Tensor:
    """Standard normal numbers; NumPy promises that this generator never changes."""
    return torch.from_numpy(np.random.RandomState(seed).standard_normal(shape)).float()


def filled(network: Any) -> Any:
    """The network with weights that depend neither on torch's generator nor on its initialisation."""
    stream = np.random.RandomState(0)
    running = {n: v for n, v in network.named_buffers() if n.endswith(("running_mean", "running_var"))}
    for name, value in {**dict(network.named_parameters()), **running}.items():
        drawn = torch.from_numpy(stream.standard_normal(tuple(value.shape)))
        if value.dim() > 1:
            drawn = drawn / value[0].numel() ** 0.5
        elif name.endswith(("weight", "running_var")):
            drawn = 1 + 0.1 * drawn.abs()
        else:
            drawn = 0.1 * drawn
        value.data.copy_(drawn)
    return network.eval()


def trained(network: nn.Module, loss: Tensor) -> Values:
    """The loss, and the norm of its gradient for each parameter: 0 for those that do not learn."""
    loss.backward()
    norms = [0 * p.sum() if p.grad is None else p.grad.norm() for p in network.parameters()]
    return {"loss": loss, "gradients": torch.stack(norms)}


def starts_at_zero(network: nn.Module) -> Tensor:
    """For each parameter 1 where it starts at zero, and 0 elsewhere."""
    return torch.tensor([float(not p.any()) for p in network.parameters()])


def backbone() -> Values:
    """EfficientNet-B4's stages 1-4, brought to one size."""
    settings = Backbone(name="tf_efficientnet_b4", feature_size=4)
    empty: Any = timm.create_model(settings.name, features_only=True, out_indices=settings.stages)
    state = {f"network.{name}": value for name, value in empty.state_dict().items()}
    network = FeatureExtractor(settings, state | {n: torch.ones(1, 3, 1, 1) for n in ("mean", "std")})
    return {"features": filled(network)(backbone_images())}


def backbone_images() -> Tensor:
    return numbers(1, 3, 64, 64)


def uniad_network() -> Reconstructor:
    small = Base(
        hidden=32, heads=4, feedforward=48, encoder_layers=2, decoder_layers=2, dropout=0, precision="fp32"
    )
    return filled(Reconstructor(small, 32, 14))


def uniad_inputs() -> tuple[Tensor, Tensor]:
    """Features (B, C, h, w), and noise of the feature jitter (B, h·w, C)."""
    return 3 * numbers(1, 32, 14, 14), numbers(1, 196, 32, seed=2)


def uniad() -> Values:
    """UniAD's transformer, its loss with feature jitter, its heatmap and image score."""
    network, (features, noise) = uniad_network(), uniad_inputs()
    reconstruction, jittered = network(features), network(features, noise)
    heatmap = upsample_base(feature_error(features, reconstruction), 224)
    return {
        "reconstruction": reconstruction,
        "jittered": jittered,
        "heatmap": heatmap[:, 3::16, 5::16],
        "score": image_score(heatmap, 16),
        **trained(network, F.mse_loss(jittered, features)),
    }


def adm_new() -> Denoiser:
    return Denoiser(
        Diffusion(
            width=32, multipliers=[1, 2, 2], attention_levels=[1, 2], layers_per_block=2, precision="fp32"
        )
    )


def adm_inputs() -> tuple[Tensor, Tensor, Tensor]:
    """x_t, c and t."""
    return numbers(2, 3, 16, 16), numbers(2, 3, 16, 16, seed=2), torch.tensor([25, 250])


def adm() -> Values:
    """ADM's U-Net, its loss, and its zero initialisation."""
    new, network, inputs = adm_new(), filled(adm_new()), adm_inputs()
    noise = network(*inputs)
    loss = F.mse_loss(noise, numbers(*noise.shape, seed=3))
    return {"zeros": starts_at_zero(new), "noise": noise, **trained(network, loss)}


def some_denoiser(x_t: Tensor, condition: Tensor, timestep: Tensor) -> Tensor:
    """A function in place of a network: the chain alone is compared."""
    return torch.sin(2 * x_t) + 0.2 * condition + timestep.view(-1, 1, 1, 1) / 1000


def chain_inputs() -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Image, mask, condition, and the noise of each step."""
    image, mask = numbers(1, 3, 8, 8).clamp(-1, 1), (numbers(1, 1, 8, 8, seed=2) > 0).float()
    return image, mask, numbers(1, 3, 8, 8, seed=3), [numbers(1, 3, 8, 8, seed=4 + i) for i in range(10)]


def ddim() -> Values:
    """x̂₀ at each timestep of the reverse chain, without and with test-time conditioning."""
    image, mask, condition, noise = chain_inputs()

    def chain(conditioned: bool) -> Tensor:
        steps = reverse_chain(
            some_denoiser,
            image,
            mask,
            condition,
            linear_schedule(),
            equally_spaced(250, 10),
            iter(noise).__next__,
            test_time_conditioning=conditioned,
        )
        return torch.cat([x0 for _, x0 in steps])

    return {"plain": chain(False), "conditioned": chain(True)}


def diad_new() -> GuidedDenoiser:
    return GuidedDenoiser(GuidedSettings(width=16, context_width=24), levels=4)


def diad_inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents, timesteps and images."""
    return numbers(2, 4, 16, 16), torch.tensor([101, 901]), numbers(2, 3, 128, 128, seed=2)


def diad_denoiser() -> Values:
    """DiAD's guided U-Net, its loss, and what starts at zero."""
    new = diad_new()
    new.begin_guidance()
    network, (latents, timesteps, images) = diad_new(), diad_inputs()
    network.begin_guidance()
    filled(network)
    network.context = numbers(1, 3, 24, seed=3)
    noise = network(latents, timesteps, images)
    loss = F.mse_loss(noise, numbers(*noise.shape, seed=4))
    return {
        "zeros": starts_at_zero(new),
        "unguided": network.unguided(latents, timesteps),
        "guided": noise,
        **trained(network, loss),
    }


def diad_autoencoder() -> Values:
    """DiAD's autoencoder: the mean of the posterior, and the decoded image."""
    network = filled(kl_autoencoder(Autoencoder(width=16)))
    return {
        "latents": network.encode(numbers(1, 3, 64, 64)).latent_dist.mean,
        "decoded": network.decode(numbers(1, 4, 4, 4, seed=2)).sample,
    }


def diad_method() -> DiAD:
    small = {"width": 16, "multipliers": [1, 2], "layers_per_block": 1}
    settings = DiAD.Settings.model_validate(
        {
            "pretrained": "scratch",
            "autoencoder": small | {"adversarial_epochs": 0},
            "denoiser": small | {"heads": 2, "context_width": 8},
            "backbone": {"name": "tf_efficientnet_lite0", "weights": "package", "stages": [1, 2, 3]},
            "pools": 3,
        }
    )
    return filled(DiAD(settings, Shapes(image_size=48, channels=0, feature_size=1)))


def diad() -> Values:
    """DiAD's reconstruction by ten steps, its heatmap and image score."""
    method, images, unused = diad_method(), numbers(1, 3, 48, 48).clamp(-1, 1), torch.empty(0)
    heatmaps = method.heatmaps(images, unused)
    return {
        "reconstruction": method.reconstructed(images),
        "heatmap": heatmaps[:, 1::4, 2::4],
        "score": method.image_scores(heatmaps, images, unused),
    }


def draem_method() -> Anomalib:
    settings = Anomalib.Settings(
        model="draem", arguments={"base_width": 8}, input_size=64, score="pool", pool_size=21
    )
    return filled(Anomalib(settings, Shapes(64, 0, 1)))


def draem() -> Values:
    """DRAEM's two networks as anomalib has them, and its loss for a given defect."""
    method, images = draem_method(), numbers(2, 3, 64, 64).clamp(-1, 1)
    heatmaps, scores = method.heatmaps_and_scores(images, torch.empty(0))
    network, defect = method.model, numbers(2, 1, 64, 64, seed=2) > 1
    network.training = True
    reconstruction, prediction = network((images + 1) / 2)
    target = (reconstruction + 0.1 * images).detach()
    loss = method._adapter.lightning.loss(target, reconstruction, defect, prediction)
    return {
        "reconstruction": reconstruction[..., 1::4, 2::4],
        "prediction": prediction[..., 1::4, 2::4],
        "heatmap": heatmaps[:, 1::4, 2::4],
        "score": scores,
        **trained(network, loss),
    }


def psvdd_method() -> PatchSVDD:
    method = filled(PatchSVDD(PatchSVDD.Settings(), Shapes(128, 0, 1)))
    fixed = method.small_classifier[-1].weight
    fixed.data /= fixed.norm(dim=0)  # as it begins
    return method


def psvdd() -> Values:
    """Patch SVDD's codes of small and large patches, its classifier, and scores brought to pixels."""
    method, images = psvdd_method(), 0.5 * numbers(1, 3, 128, 128)
    small, large = method._codes(images)
    new = PatchSVDD(PatchSVDD.Settings(), Shapes(128, 0, 1))
    return {
        "small": small[:, ::7],
        "large": large,
        "logits": method.small_classifier(numbers(5, 64) - numbers(5, 64, seed=2)),
        "lengths": new.small_classifier[-1].weight.norm(dim=0),
        "learns": torch.tensor([float(p.requires_grad) for p in new.parameters()]),
        "distances": distances(small[:, ::7], numbers(50, 64)),
        "pixels": pixel_means(numbers(1, 25).abs(), 64, 16, 128)[:, 3::8, 5::8],
    }


def simplenet_method() -> SimpleNet:
    return filled(SimpleNet(SimpleNet.Settings(width=16, blur=0.0), Shapes(64, 24, 8)))


def simplenet() -> Values:
    """SimpleNet's neighbourhoods, adaptor, discriminator, and its map before the Gaussian filter."""
    method, features, unused = simplenet_method(), numbers(2, 24, 8, 8), torch.zeros(2, 3, 64, 64)
    heatmaps, scores = method.heatmaps_and_scores(unused, features)
    return {
        "adapted": method._adapted(unused, features)[::5],
        "heatmap": heatmaps[:, 1::4, 2::4],
        "score": scores,
    }


def ast_method() -> Asymmetric:
    small = Asymmetric.Settings(position_channels=8, teacher_width=16, student_width=12)
    method = filled(Asymmetric(small, Shapes(96, 16, 6)))
    for place, block in enumerate(method.teacher):
        block.order.copy_(numbers(16, seed=place).argsort())
    return method


def ast() -> Values:
    """AST's teacher with its determinant and its start, its student, its map and image score."""
    method, features, unused = ast_method(), numbers(2, 16, 6, 6), torch.zeros(2, 3, 96, 96)
    output, determinant = flow(method.teacher, features, method._place(features))
    heatmaps, scores = method.heatmaps_and_scores(unused, features)
    return {
        "zeros": starts_at_zero(Asymmetric(method.settings, Shapes(96, 16, 6)).teacher),
        "teacher": output,
        "determinant": determinant,
        "student": method._learned(features),
        "heatmap": heatmaps[:, 1::6, 2::6],
        "score": scores,
    }


CASES: dict[str, Callable[[], Values]] = {
    case.__name__: case
    for case in (
        *(backbone, uniad, adm, ddim, diad_denoiser, diad_autoencoder, diad, draem),
        *(psvdd, simplenet, ast),
    )
}


def computed(name: str) -> Values:
    return {key: value.detach().contiguous() for key, value in CASES[name]().items()}
