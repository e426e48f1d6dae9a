"""Scores -> stems -> audio -> captions -> latents: the band the models of this book learn from."""
