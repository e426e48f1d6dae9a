"""Diffusion models of latents: rectified flow, the transformer, its masks and caches, streams, and training.

Nothing here knows the discrete models, and they know nothing of this package.
"""
