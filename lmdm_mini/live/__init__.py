"""What is heard and seen in a notebook: the live player strip, compact sound, spectrograms.

`StreamPlayer` is introduced in notebook 00 and used all through the book; `listen` and `spectrogram` show
finished audio in a form small enough to be committed with a notebook.
"""

from lmdm_mini.live.listen import PALETTE, listen, mp3_data_uri, spectrogram
from lmdm_mini.live.player import StreamPlayer, as_blocks

__all__ = ["PALETTE", "StreamPlayer", "as_blocks", "listen", "mp3_data_uri", "spectrogram"]
