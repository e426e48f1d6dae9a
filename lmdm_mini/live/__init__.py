"""What is heard and seen in a notebook: the live player strip, the jam session, compact sound, spectrograms.

`StreamPlayer` is introduced in notebook 00 and used all through the book; `listen` and `spectrogram` show finished audio in a
form small enough to be committed with a notebook. `JamSession` is notebook 14.
"""

from importlib import import_module

_HOMES = {"PALETTE": "listen", "listen": "listen", "mp3_data_uri": "listen", "spectrogram": "listen", "StreamPlayer": "player",
          "as_blocks": "player", "JamSession": "jam", "replay": "recording"}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    """Imported when asked for: the process of an engine needs neither widgets nor figures, and is ready sooner without."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
