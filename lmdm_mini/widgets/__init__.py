"""What a notebook shows: the stream player, the jam session, the complexity lab, sounds and pictures."""

from lmdm_mini.live.recording import replay
from lmdm_mini.widgets.jam import JamSession
from lmdm_mini.widgets.listen import PALETTE, listen, mp3_data_uri, spectrogram
from lmdm_mini.widgets.player import StreamPlayer, as_blocks

__all__ = [
    "PALETTE",
    "JamSession",
    "StreamPlayer",
    "as_blocks",
    "listen",
    "mp3_data_uri",
    "replay",
    "spectrogram",
]
