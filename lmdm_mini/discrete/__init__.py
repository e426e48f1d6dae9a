"""The discrete rival, a Live Music Model: quantiser, transformer, cache, stream, and training.

Nothing here knows the diffusion models, and they know nothing of this package.
"""
