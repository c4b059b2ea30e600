"""Trains the embedded prior: a small latent diffusion model in CompVis's layout, out of the pack's own networks."""
