"""LMDM-mini: a Live Music Diffusion Model you can read, train and play on a laptop.

    import lmdm_mini as lm
    codec = lm.load_codec()
    model = lm.load("bidirectional")
    audio = lm.generate(model, prompt="warm lo-fi piano, 90 bpm", seconds=20)

The notebooks build every part of it, from 00_start_here on.
"""

from importlib import import_module

from lmdm_mini import forked  # from here on a forked process does not hang

__version__ = "0.1.0"

# name -> module: imported on first use, so that `import lmdm_mini` stays quick
_PUBLIC = {
    "load_codec": "codec",
    "read_audio": "audio",
    "write_audio": "audio",
    "load": "models",
    "list_models": "checkpoints",
    "generate": "models",
    "sketch": "conditioning.sketch",
    "stream": "models",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(import_module(f"lmdm_mini.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module 'lmdm_mini' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
