"""Streams: the part that is common to all kinds of models.

A stream makes the latents of the next block, decodes them, and appends them to its context. How the latents
are made depends on the kind of model: see `diffusion/stream.py` and `discrete/stream.py`. This module has the
clock, the context, the sound, and the time that each part takes.

Notebook: 03_outpainting, 05_kv_caching. Paper: section 3.2.
"""

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE, to_stereo
from lmdm_mini.codec.codec import ENCODER_AHEAD, FRAME_SAMPLES, LATENT_CHANNELS, LATENT_RATE, check_latents
from lmdm_mini.conditioning.clock import frames_to_beats
from lmdm_mini.conditioning.text import Text, encode_text, no_text, stack_texts
from lmdm_mini.modes import in_float32, playing
from lmdm_mini.musical import beat_phase


@dataclass
class Block:
    """One block of a stream."""

    audio: Tensor  # (2, n) float32, ready to play; blocks join without a cross-fade
    latents: Tensor  # (64, block_latents)
    seconds_to_make: float  # wall time in all
    # its parts: "context" (filling the cache), "network" (the model's passes for the block), "codec"
    seconds_of: dict[str, float] = field(default_factory=dict)


class PartTimes:
    """Measures how long the parts of one block take. `clock`: a function that returns seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self.clock, self.begun = clock, clock()
        self.seconds_of = {"context": 0.0, "network": 0.0, "codec": 0.0}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Adds the time spent inside the `with` block to a part."""
        start = self.clock()
        yield
        self.seconds_of[name] = self.seconds_of.get(name, 0.0) + self.clock() - start

    def timed(self, name: str, function: Callable) -> Callable:
        """Returns a function that calls `function` and adds the time to a part."""

        def call(*args, **kwargs):
            with self.part(name):
                return function(*args, **kwargs)

        return call

    def block(self, audio: Tensor, latents: Tensor) -> Block:
        """Returns the finished block with copies of audio (2, n) and latents (1, 64, T)."""
        return Block(audio.clone(), latents[0].clone(), self.clock() - self.begun, self.seconds_of)


# -- guidance and clock ----------------------------------------------------------------------------------


def is_guided(text: Text, cfg_scale: float) -> bool:
    """Returns whether guidance changes anything. If not, one branch is enough."""
    return cfg_scale != 1.0 and not text.empty


def with_no_text(text: Text) -> Text:
    """Returns the batch of both branches: the prompts, then no prompts."""
    return stack_texts([text, no_text(len(text.bpm), text.bpm.device)])


def guide(outputs: Tensor, cfg_scale: float) -> Tensor:
    """Applies classifier-free guidance: velocities or logits of both branches, (2 B, ...), become (B,
    ...)."""
    with_text, without = outputs.chunk(2)
    return without + cfg_scale * (with_text - without)


def guided(
    model: Callable[[Tensor, Tensor, Text], Tensor], text: Text, cfg_scale: float, x: Tensor, t: Tensor
) -> Tensor:
    """Returns the guided velocity of a model for x (B, 64, T) and t (B,), with both branches in one pass."""
    if not is_guided(text, cfg_scale):
        return model(x, t, text)
    return guide(model(x.repeat(2, 1, 1), t.repeat(2), with_no_text(text)), cfg_scale)


def beats_from(beat: float, bpm: Tensor, count: int, before: int = 0) -> Tensor:
    """Returns positions in beats, (B, T), of `before` frames and the `count` frames after them.

    The latter begin at `beat`. bpm: (B,), tempi. Only the position within the clock's longest period, four
    beats, matters.
    """
    frames = torch.arange(-before, count, device=bpm.device)
    return beat % 4 + frames_to_beats(frames, bpm[:, None])


# -- the stream ------------------------------------------------------------------------------------------


class Stream(ABC):
    """An endless iterator of :class:`Block`; `set()` changes what the next block is made with.

    A subclass for a kind of model defines `settings` (the names that `set` takes), `check` and `make`.

    context: latents (1, 64, n), the newest frames, at most the model's window. heard: the context that the
    stream started from, decoded by the codec, (2, N). beat: position of the clock at the beginning of the
    next block, in beats.
    """

    settings: tuple[str, ...] = ()
    granule = 1  # a context is cut to a multiple of this many latent frames
    block_latents: int

    def __init__(self, model, seed: int, context_latents: int):
        self.model, self.codec, self.context_latents = model, model.codec, context_latents
        weights = next(model.parameters())
        if weights.dtype != torch.float32:
            raise ValueError(
                f"the model's weights are {weights.dtype}; it plays in float32: call model.float() first."
            )
        self.device, self.codec_device = weights.device, next(model.codec.parameters()).device
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.decoder = self.codec.stream_decoder()
        self.text, self.beat, self.played = no_text(1, self.device), 0.0, 0  # played: number of latent frames
        self.context, self.heard = torch.zeros(1, LATENT_CHANNELS, 0, device=self.device), torch.zeros(2, 0)

    # -- for subclasses --------------------------------------------------------------------------

    @abstractmethod
    def check(self, changes: dict) -> dict:
        """Returns the checked changes of settings. Raises ValueError or TypeError for values that cannot be
        played."""

    @abstractmethod
    def make(self, times: PartTimes) -> Tensor:
        """Returns the latents of the next block, (1, 64, block_latents)."""

    def context_changed(self) -> None:
        """Called after the whole context was replaced."""

    def context_grew(self, latents: Tensor) -> None:
        """Called after `latents` (1, 64, n) were appended to the context."""

    # -- settings ------------------------------------------------------------------------------------

    @in_float32()
    def set(self, **changes) -> None:
        """Changes settings from the next block on. Raises ValueError for unknown names or values that cannot
        be played, TypeError for what is no prompt. After an error, nothing has changed."""
        unknown = set(changes) - set(self.settings)
        if unknown:
            names = ", ".join(self.settings)
            raise ValueError(f"a stream has no setting {sorted(unknown)[0]!r}; there are: {names}.")
        changes = self.check(changes)
        text = encode_text([changes["prompt"]]).map(self._here) if "prompt" in changes else self.text
        for name, value in changes.items():
            setattr(self, name, value)
        self.text = text

    def _here(self, x: Tensor) -> Tensor:
        return x.to(self.device)

    @property
    def bpm(self) -> float:
        """Tempo of the clock in beats per minute; 0: no clock."""
        return float(self.text.bpm)

    def set_clock(self, bpm: float | None = None, beat: float | None = None) -> None:
        """Sets the tempo of the clock (0: no clock) instead of the prompt's, or its position in beats, from
        the next block on."""
        if bpm is not None:
            self.text = replace(self.text, bpm=torch.full_like(self.text.bpm, bpm))
        if beat is not None:
            self.beat = beat

    def reseed(self, seed: int) -> None:
        """Seeds the random numbers of the following blocks."""
        self.generator.manual_seed(seed)

    # -- context -------------------------------------------------------------------------------------

    def start_from(self, context: Tensor | None) -> None:
        """Goes on from a recording (2, N) at 44.1 kHz; None: from nothing."""
        self.set_context(self.context if context is None else self._encode(to_stereo(context)))

    def _encode(self, audio: Tensor) -> Tensor:
        """Returns the latents of a recording (2, N) up to its last whole frame.

        The encoder looks ahead, so later frames would contain silence after the end. Of a long recording,
        only the end is encoded: the part that the model attends to, and a second to warm up.
        """
        used = self.context_latents * FRAME_SAMPLES + SAMPLE_RATE
        if audio.shape[-1] > used + SAMPLE_RATE:
            warnings.warn(
                f"the context lasts {audio.shape[-1] / SAMPLE_RATE:.1f} s; only its last "
                f"{used / SAMPLE_RATE:.1f} s are used",
                stacklevel=6,
            )
            audio = audio[:, -used:]
        frames = (audio.shape[-1] - ENCODER_AHEAD) // FRAME_SAMPLES
        if frames < 1:
            return self.codec.encode(audio[None])
        return self.codec.encode(audio[None, :, (audio.shape[-1] - ENCODER_AHEAD) % FRAME_SAMPLES :])[
            ..., :frames
        ]

    @in_float32()
    def set_context(self, latents: Tensor) -> None:
        """Replaces the context by latents (1, 64, n). The decoder continues as if it had just decoded them.
        Raises ValueError for other shapes or NaN."""
        check_latents(latents, least=0)
        self.context = self._here(latents[..., latents.shape[-1] % self.granule :])
        self.context_changed()
        self.decoder.reset()
        with playing():
            self.heard = (
                self.decoder(self.context.to(self.codec_device))[0].cpu()
                if self.context.shape[-1]
                else torch.zeros(2, 0)
            )
        if self.bpm > 0 and self.heard.shape[-1] > SAMPLE_RATE:  # the clock starts on the beat of the context
            self.set_clock(beat=beat_phase(self.heard, self.bpm))

    def correct(self, latents: Tensor, back: int) -> None:
        """Replaces context frames, from `back` frames ago on, by `latents` (1, 64, n), n at most `back`.

        This is for input that arrived late. Cached keys and values are computed again with the next block.

        Raises ValueError if the context has fewer frames, or if they are too old to be rolled back.
        """
        check_latents(latents)
        size, count = self.context.shape[-1], latents.shape[-1]
        if not count <= back <= size:
            raise ValueError(
                f"{count} frames from {back} frames ago cannot be corrected: the context has {size} frames."
            )
        begin = size - back
        parts = [self.context[..., :begin], self._here(latents), self.context[..., begin + count :]]
        context = torch.cat(parts, -1)
        self.context_corrected(context, begin)
        self.context = context

    def context_corrected(self, context: Tensor, begin: int) -> None:
        """Called before `context`, which differs from frame `begin` on, replaces the context. Raises
        ValueError if these frames are too old to be rolled back."""

    def forget(self) -> None:
        """Clears the context. The sound does not break off, and the clock runs on."""
        self.context = self.context[..., :0]
        self.context_changed()

    def kept(self) -> list[Tensor]:
        """Returns the tensors that the model caches between blocks, without the context itself."""
        return []

    @property
    def unread(self) -> int:
        """Number of frames at the end of the context that are not cached yet; correcting them is free."""
        return self.context.shape[-1]

    # -- playing -------------------------------------------------------------------------------------

    def __iter__(self) -> Self:
        return self

    @torch.no_grad()
    def __next__(self) -> Block:
        times = PartTimes()
        with playing(self.device.type):
            latents = self.make(times)
            audio = self._join(latents, times)
        return times.block(audio, latents)

    @torch.no_grad()
    def play(self, latents: Tensor) -> Block:
        """Plays latents (1, 64, n) as the next block instead of making new ones. For a live variant, n is a
        multiple of the granule."""
        times = PartTimes()
        with playing(self.device.type):
            self.catch_up(times)
            audio = self._join(self._here(latents), times)
        return times.block(audio, latents)

    def catch_up(self, times: PartTimes) -> None:
        """Brings the model's cache up to date with the context, as before a block."""

    def _join(self, latents: Tensor, times: PartTimes) -> Tensor:
        """Decodes latents (1, 64, T) after the last block to sound (2, n), and appends them to the
        context."""
        with times.part("codec"):
            audio = self.decoder(latents.to(self.codec_device))[
                0
            ]  # refuses what is not finite, before it becomes context
        self.context = torch.cat([self.context, latents], -1)[..., -self.model.config.window :]
        self.context_grew(latents)
        self.played += latents.shape[-1]
        self.beat += latents.shape[-1] / LATENT_RATE * self.bpm / 60
        return audio.cpu()


def take(stream: Stream, seconds: float, keep: bool = False) -> Tensor:
    """Returns the next `seconds` of a stream, (2, N); with `keep`, the decoded context comes first. Raises
    ValueError for an invalid length."""
    if not 1 / SAMPLE_RATE <= seconds < 24 * 3600:
        raise ValueError(f"seconds is {seconds}; it must be positive, and less than a day.")
    samples, pieces = int(seconds * SAMPLE_RATE), []
    while sum(piece.shape[-1] for piece in pieces) < samples:
        pieces.append(next(stream).audio)
    made = torch.cat(pieces, -1)[:, :samples]
    return torch.cat([stream.heard, made], -1) if keep else made
