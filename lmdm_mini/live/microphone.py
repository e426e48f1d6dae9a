"""The player's sound, put in order: pieces that come late, twice, out of turn, at another sample rate, or not
at all.

Notebook: 14_jam_session.
"""

import soxr
import torch
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE

HISTORY_SECONDS = 16.0  # of sound that are remembered
GAP_SECONDS = 0.25  # a piece that is missing for so long does not come any more


class Microphone:
    """The player's sound in order: pieces that come late, twice, out of turn or not at all leave no more than
    silence.

    `until`: sample up to which all is known. `late`, `gaps`, `damaged`: pieces dropped, holes filled, pieces
    with NaN.
    """

    def __init__(self, capacity: int = int(HISTORY_SECONDS * SAMPLE_RATE)):
        self.sound = torch.zeros(2, capacity)  # a ring: sample p is at p modulo its length
        self.until = self.late = self.gaps = self.damaged = 0
        self.waiting: dict[int, Tensor] = {}
        self.rates: dict[int, Resampler] = {}

    def put(self, start: int, piece: Tensor, rate: int = SAMPLE_RATE) -> None:
        """A piece (2, n) whose first sample belongs to sample `start`; rate: its own, in Hz. Raises
        ValueError for other shapes."""
        if piece.ndim != 2 or piece.shape[0] != 2:
            raise ValueError(f"a piece of sound is (2, samples), not {tuple(piece.shape)}.")
        if not torch.isfinite(piece).all():
            self.damaged += 1
            piece = torch.zeros_like(piece)
        if rate != SAMPLE_RATE:
            if rate not in self.rates:
                self.rates[rate] = Resampler(rate)
            start, piece = self.rates[rate](start, piece)
        if start + piece.shape[1] <= self.until:
            self.late += 1
            return
        self.waiting[start] = piece.float()
        newest = max(begin + some.shape[1] for begin, some in self.waiting.items())
        for begin in sorted(self.waiting):
            if begin > self.until:
                if newest - self.until < GAP_SECONDS * SAMPLE_RATE:
                    return  # it may still come
                self.gaps += 1
                self.skip_to(begin)
            some = self.waiting.pop(begin)
            self._write(some[:, max(0, self.until - begin) :])

    def skip_to(self, sample: int) -> None:
        """Silence up to there: what belongs before it is not waited for."""
        while self.until < sample:
            self._write(torch.zeros(2, min(sample - self.until, SAMPLE_RATE)))

    def _write(self, piece: Tensor) -> None:
        put_ring(self.sound, self.until, piece)
        self.until += piece.shape[1]


class Resampler:
    """Pieces at another rate become pieces at 44.1 kHz that still join."""

    def __init__(self, rate: int):
        if not 8000 <= rate <= 384_000:
            raise ValueError(
                f"the sample rate of a piece of sound is {rate}; it must be from 8,000 to 384,000 Hz."
            )
        self.rate, self.stream = rate, soxr.ResampleStream(rate, SAMPLE_RATE, 2, dtype="float32")
        self.at, self.expected = 0, -1.0  # where the next output belongs, and the next input should

    def __call__(self, start: int, piece: Tensor) -> tuple[int, Tensor]:
        """Piece (2, n) at `start` (counted at 44.1 kHz) -> where its output belongs, and that, (2, m)."""
        if abs(start - self.expected) > 0.02 * SAMPLE_RATE:  # not the continuation of the last one
            self.stream.clear()
            self.at = start
        self.expected = start + piece.shape[1] * SAMPLE_RATE / self.rate
        made = torch.from_numpy(self.stream.resample_chunk(piece.float().T.contiguous().numpy())).T
        self.at += made.shape[1]
        return self.at - made.shape[1], made


def put_ring(ring: Tensor, start: int, piece: Tensor) -> None:
    """Writes samples (2, n) from `start` on into a ring (2, capacity); of more than it holds the last
    stay."""
    piece, start = piece[:, -ring.shape[1] :], start + max(0, piece.shape[1] - ring.shape[1])
    at = start % ring.shape[1]
    head = min(piece.shape[1], ring.shape[1] - at)
    ring[:, at : at + head], ring[:, : piece.shape[1] - head] = piece[:, :head], piece[:, head:]


def get_ring(ring: Tensor, start: int, stop: int) -> Tensor:
    """Samples start to stop of a ring, (2, stop - start)."""
    return ring[:, torch.arange(start, stop) % ring.shape[1]]
