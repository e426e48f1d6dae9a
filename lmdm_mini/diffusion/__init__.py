"""Diffusion models of latents: rectified flow, the transformer, its masks and caches, streams, and training.

Nothing here imports the discrete models, and they import nothing from this package.
"""
