"""The live session without a page: the engine, its process, the microphone, recordings.

Nothing here imports widgets or pictures; `lmdm_mini.widgets` shows it in a notebook.
"""

from importlib import import_module

# The names that were here before widgets had a folder of their own; `replay` still is.
_MOVED = ("PALETTE", "JamSession", "StreamPlayer", "as_blocks", "listen", "mp3_data_uri", "spectrogram")


def __getattr__(name: str):
    if name == "replay":
        return import_module("lmdm_mini.live.recording").replay
    if name in _MOVED:
        return getattr(import_module("lmdm_mini.widgets"), name)
    raise AttributeError(f"module 'lmdm_mini.live' has no attribute {name!r}")
