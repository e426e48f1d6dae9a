"""What is heard and seen in a notebook: the live player strip, the jam session, compact sound, spectrograms.

`StreamPlayer` is introduced in notebook 00 and used all through the book; `listen` and `spectrogram` show finished audio in a
form small enough to be committed with a notebook. `JamSession` is notebook 14; the lab of notebook 08 is in `lab.py`.
"""

from lmdm_mini.live.jam import JamSession
from lmdm_mini.live.listen import PALETTE, listen, mp3_data_uri, spectrogram
from lmdm_mini.live.player import StreamPlayer, as_blocks
from lmdm_mini.live.recording import replay

__all__ = ["PALETTE", "JamSession", "StreamPlayer", "as_blocks", "listen", "mp3_data_uri", "replay", "spectrogram"]
