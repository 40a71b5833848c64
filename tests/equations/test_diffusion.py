"""Schedule, forward process and reverse chain against their definitions and against diffusers."""

import pytest
import torch
from diffusers import DDIMScheduler

from drdc.equations.diffusion import (
    ddim_step,
    equally_spaced,
    linear_schedule,
    predict_noise,
    predict_x0,
    q_sample,
    reverse_chain,
    to_unit_range,
)
from drdc.equations.inpainting import masked_condition, partition

SHAPE = (2, 3, 16, 16)
ALPHA_BAR = linear_schedule()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def mask() -> torch.Tensor:
    return partition(16, 4, 2, torch.Generator().manual_seed(0))[:1].expand(2, -1, -1, -1)


def perfect(image: torch.Tensor):
    """The denoiser that knows the clean image."""
    return lambda x_t, _, t: predict_noise(x_t, ALPHA_BAR[t].view(-1, 1, 1, 1), image)


def noise_source(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return lambda: torch.randn(SHAPE, generator=generator)


def test_the_schedule_has_the_published_values() -> None:
    """Published tables count from 0, where the first step has noise already; our index 0 is the image."""
    expected = {25: 0.991, 50: 0.970, 100: 0.895, 200: 0.656, 250: 0.521, 500: 0.078}
    for t, value in expected.items():
        assert ALPHA_BAR[t + 1].item() == pytest.approx(value, abs=6e-4)
    assert ALPHA_BAR[0] == 1
    assert len(ALPHA_BAR) == 1001
    assert (ALPHA_BAR.diff() < 0).all()


def test_timesteps_are_equally_spaced_down_to_the_first_stride() -> None:
    assert equally_spaced(250, 10) == [250, 225, 200, 175, 150, 125, 100, 75, 50, 25]
    assert equally_spaced(250, 1) == [250]
    assert len(set(equally_spaced(50, 50))) == 50


def test_steps_of_the_markov_chain_add_up_to_the_closed_form() -> None:
    """Eq. 3 applied t times has the mean and variance of Eq. 4."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    mean, variance = 1.0, 0.0
    for t in range(1, 251):
        mean, variance = mean * (1 - betas[t - 1]).sqrt(), variance * (1 - betas[t - 1]) + betas[t - 1]
    assert float(mean) == pytest.approx(ALPHA_BAR[250].sqrt().item(), abs=1e-6)
    assert float(variance) == pytest.approx(1 - ALPHA_BAR[250].item(), abs=1e-6)


@pytest.mark.parametrize("t", [1, 25, 250, 1000])
def test_eq_7_inverts_eq_4(image: torch.Tensor, t: int) -> None:
    noise = torch.randn(SHAPE, dtype=torch.float64)
    x_t = q_sample(image.double(), ALPHA_BAR[t].double(), noise)
    assert torch.allclose(predict_x0(x_t, ALPHA_BAR[t].double(), noise), image.double(), atol=1e-6)
    assert torch.allclose(predict_noise(x_t, ALPHA_BAR[t].double(), image.double()), noise, atol=1e-6)


def test_one_step_equals_diffusers_ddim(image: torch.Tensor) -> None:
    scheduler = DDIMScheduler(1000, 1e-4, 0.02, "linear", clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(1000)
    x, epsilon = torch.randn(SHAPE), torch.randn(SHAPE)
    for t in (1000, 250, 2, 1):  # diffusers counts from 0: its step t - 1 is ours t
        theirs = scheduler.step(epsilon, t - 1, x, eta=0.0)
        x0 = predict_x0(x, ALPHA_BAR[t], epsilon)
        assert torch.allclose(x0, theirs.pred_original_sample, rtol=1e-4, atol=1e-4)
        assert torch.allclose(
            ddim_step(x0, ALPHA_BAR[t - 1], epsilon), theirs.prev_sample, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("clip", [False, True])
def test_the_plain_chain_equals_diffusers_ddim(image: torch.Tensor, mask: torch.Tensor, clip: bool) -> None:
    """Without test-time conditioning the whole chain from 1000 is diffusers' sampler."""

    def model(x: torch.Tensor, _: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x.roll(1, -1)) * 0.9 + t.view(-1, 1, 1, 1) / 5000

    scheduler = DDIMScheduler(
        1000, 1e-4, 0.02, "linear", clip_sample=clip, set_alpha_to_one=True, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(10)
    noise = torch.randn(SHAPE)
    x = q_sample(image, ALPHA_BAR[1000], noise)
    theirs = []
    for t in scheduler.timesteps:
        out = scheduler.step(model(x, image, t[None] + 1), int(t), x, eta=0.0, use_clipped_model_output=clip)
        x = out.prev_sample
        theirs.append(out.pred_original_sample)
    chain = reverse_chain(
        model, image, mask, image, ALPHA_BAR, equally_spaced(1000, 10), lambda: noise,
        test_time_conditioning=False, clip=clip,
    )  # fmt: skip
    for (t, ours), reference, theirs_t in zip(chain, theirs, scheduler.timesteps, strict=True):
        assert t == int(theirs_t) + 1
        assert torch.allclose(ours, reference, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("hole_init", ["qsample", "noise"])
@pytest.mark.parametrize("conditioning", [True, False])
@pytest.mark.parametrize("known_noise", ["fresh", "fixed"])
def test_a_perfect_denoiser_gives_the_image_back(
    image: torch.Tensor, mask: torch.Tensor, hole_init: str, conditioning: bool, known_noise: str
) -> None:
    condition = masked_condition(image, mask, torch.randn(SHAPE))
    chain = reverse_chain(
        perfect(image), image, mask, condition, ALPHA_BAR, equally_spaced(250, 5), noise_source(),
        hole_init=hole_init, test_time_conditioning=conditioning, known_noise=known_noise,
    )  # fmt: skip
    for _, x0 in chain:
        assert torch.allclose(x0, image, atol=1e-4)


def test_known_pixels_follow_eq_11_after_each_step(mask: torch.Tensor) -> None:
    """Their mean is √ᾱ x₀, their variance 1 − ᾱ, whatever the denoiser says."""
    seen: dict[int, torch.Tensor] = {}
    images = torch.full((400, 3, 16, 16), 0.5)
    masks = mask[:1].expand(400, -1, -1, -1)

    def useless(x: torch.Tensor, _: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen[int(t[0])] = x
        return torch.full_like(x, 3.0)

    source = torch.Generator().manual_seed(0)
    chain = reverse_chain(
        useless, images, masks, images, ALPHA_BAR, [250, 150, 50],
        lambda: torch.randn(images.shape, generator=source),
    )  # fmt: skip
    list(chain)
    known = masks.bool().expand_as(images)
    for t in (150, 50):
        values = seen[t][known]
        assert values.mean().item() == pytest.approx(ALPHA_BAR[t].sqrt().item() * 0.5, abs=0.01)
        assert values.var().item() == pytest.approx(1 - ALPHA_BAR[t].item(), rel=0.02)
        unknown = seen[t][~known]
        assert abs(unknown.mean().item() - ALPHA_BAR[t].sqrt().item() * 0.5) > 0.1


def test_hole_init_decides_what_the_hole_starts_from(image: torch.Tensor, mask: torch.Tensor) -> None:
    """With noise, nothing of the image inside the hole reaches the model before the first prediction."""
    hole = (1 - mask).bool().expand_as(image)
    other = torch.where(hole, -image, image)
    for hole_init, leaks in (("qsample", True), ("noise", False)):
        first = []
        for picture in (image, other):
            noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
            condition = masked_condition(picture, mask, noise)
            start: list[torch.Tensor] = []
            chain = reverse_chain(
                lambda x, c, t, start=start: start.append(torch.cat([x, c])) or torch.zeros_like(x),
                picture, mask, condition, ALPHA_BAR, [250], noise_source(), hole_init=hole_init,
            )  # fmt: skip
            list(chain)
            first.append(start[0])
        assert (not torch.equal(*first)) == leaks


def test_predictions_are_clipped_only_on_request(image: torch.Tensor, mask: torch.Tensor) -> None:
    for clip in (True, False):
        chain = reverse_chain(
            lambda x, c, t: torch.full_like(x, 4.0), image, mask, image, ALPHA_BAR, [250, 100],
            noise_source(), clip=clip,
        )  # fmt: skip
        assert all((x0.abs() <= 1).all() for _, x0 in chain) == clip


def test_pixels_become_the_unit_range() -> None:
    pixels = torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)
    assert to_unit_range(pixels).flatten().tolist() == pytest.approx([-1.0, 1 / 255, 1.0], abs=1e-6)
    assert to_unit_range(pixels).shape == (1, 3, 1, 1)
