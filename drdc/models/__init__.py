"""The three networks: frozen backbone, base model (reconstructor) and diffusion model (denoiser)."""
