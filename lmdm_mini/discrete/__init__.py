"""The discrete rival, a Live Music Model: quantiser, transformer, cache, stream, and training.

Nothing here imports the diffusion models, and they import nothing from this package.
"""
