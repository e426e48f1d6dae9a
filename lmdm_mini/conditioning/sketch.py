"""Sketch control: a melody and a loudness to follow, frame by frame.

Notebook: 10_sketch_control (planned). Paper: section 3.4.
"""

SKETCH_CHANNELS = 88  # 84 semitones from C1 up, and the loudness of the four STFT frames of a latent frame
