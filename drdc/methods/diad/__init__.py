"""The parts of DiAD: settings, autoencoder, guided denoiser, and Stable Diffusion's weights."""
