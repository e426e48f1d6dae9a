"""The band member in the machine: what the player does goes in, what the model plays comes out, without
browser or Jupyter.

Time is counted in samples of the output. Sound from the microphone comes in pieces that say where they
belong: what the player did while sample p was heard belongs to sample p (whoever sends pieces takes the round
trip of the sound card off first).

The model hears both: own sound plus the player's, encoded, as context. But the player's sound of *now* is not
there yet when the next block must be made, and the model works a little ahead of the ear. So its newest
context is its own sound alone, provisional, and is corrected frame by frame as the player's comes
(`Stream.correct`, `KVCache.rollback`). Where the player is silent, or is to be heard at level 0, the model's
own latents stay: nothing is decoded and encoded again.

Where the player's sound has a clear beat, the clock of the model takes up its tempo and phase, unless the
prompt names another tempo.

Controls act on the next block. Nothing here sleeps or asks for the time but by `clock`, so tests run it with
a simulated one.

Notebook: 14_jam_session. Paper: section 3.2 (streaming), section 5 (playing together).
"""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.codec.codec import ENCODER_AHEAD, ENCODER_LEAD, FRAME_SAMPLES, LATENT_RATE
from lmdm_mini.conditioning.prompt import Prompt, named_bpm
from lmdm_mini.diffusion.dit import DiT
from lmdm_mini.diffusion.kv_cache import SLACK
from lmdm_mini.diffusion.stream import SETTINGS, stream_dit
from lmdm_mini.live.microphone import Microphone, get_ring, put_ring
from lmdm_mini.live.settings import clean_settings
from lmdm_mini.musical import beat_phase, nearest_octave, same_tempo, tempo
from lmdm_mini.precision import for_playing
from lmdm_mini.streaming import PartTimes

SILENCE = 1e-3  # peak below which nobody is playing
# root mean square of the music it was trained on, and over how long it is measured here
LOUDNESS, LOUDNESS_SECONDS = 0.15, 3.0
FIRST_SECONDS = 0.8  # of sound are made before any is heard
RECENT = 16  # blocks, of which the slowest says how long the next may take
STALE = 2.0  # seconds: no report is older, whatever its clock says
LIMIT = 0.8  # peaks above it are rounded off
# seconds of sound that the listener should still have when a block comes: if not, blocks are begun earlier by
# what lacks,
MARGIN = 0.2
MOST_LEAD = 1.0  # up to so many before it would be silent,
LEAD_DECAY = 0.005  # and later again by this with each report that it was enough
# between these an engine chooses by itself when time is short, but none above what the player wants
STEPS = 4, 6, 8
BUSY, IDLE = 0.8, 0.45  # real-time factors above and below which it does
BEAT_SECONDS = 8.0  # of the player's sound in which a beat is looked for
EVERY_SECONDS = 1.0  # how often
CLEAR_BEAT = 0.35  # regularity (`musical.tempo`) from which it is one
LOOP_FRAMES = 48  # of a bar if there is no tempo


@dataclass
class Settings:
    """What a player can turn while playing; `Engine.set` takes these names."""

    prompt: Prompt = ""
    cfg_scale: float = 2.0  # with 3 a live model drifts more (`evaluate rollouts`)
    steps: int = 8
    block_latents: int = 12
    mic_level: float = 1.0  # how loud the model hears the player; 0 = not at all
    output_level: float = 1.0
    follow: bool = True  # the clock takes up the player's beat
    frozen: bool = False  # the last bars again and again, until it is False


@dataclass
class JamBlock:
    """One block as it goes to the loudspeaker, and its page in the log."""

    audio: Tensor | np.ndarray  # (2, n) float32; an array from another process
    number: int
    start: int  # sample of the output where it begins
    samples: int
    asked: float  # by the clock, seconds
    ready: float
    seconds_of: dict[str, float]  # "encoder", and what :class:`lmdm_mini.streaming.Block` splits
    heard_until: int  # sample up to which the model has heard the player
    # (2, m) float32, what it has heard of the player since the block before: it ends at `heard_until`
    player: Tensor | np.ndarray
    turned: list[tuple[str, dict]]  # calls of `set` and `forget` since the block before, in their order
    lead: float  # seconds of sound ahead of the ear when it was ready; negative: too late
    bpm: float  # of the clock; 0 = none
    follows: bool  # whether that is the player's tempo
    settings: Settings  # it was made with; `steps` are those it really took


def soft_limit(sound: Tensor) -> Tensor:
    """Sound that never leaves -1 to 1; without a memory, so blocks still join."""
    over = (sound.abs() - LIMIT).clamp_min(0)
    return sound.clamp(-LIMIT, LIMIT) + sound.sign() * (1 - LIMIT) * torch.tanh(over / (1 - LIMIT))


class Engine:
    """A live session of one model. `hear` takes pieces of the player's sound, `next_block` makes what is to
    be played, `set` turns its settings, `report` says how far it was heard, `due` whether it is time for
    another block.

    context: audio (2, N) at 44.1 kHz to go on from. lead_seconds: the least that is kept ahead of the ear
    when a block is begun; more while blocks come to the listener too late for comfort. precision: see
    :func:`lmdm_mini.precision.for_playing`. `late_blocks`: blocks that came when nothing was left to play.
    `log`: the newest :class:`JamBlock`, without their sound.
    """

    def __init__(
        self,
        model: DiT,
        seed: int = 0,
        context: Tensor | None = None,
        lead_seconds: float = 0.6,
        clock: Callable[[], float] = time.perf_counter,
        precision: str = "float32",
        **settings,
    ):
        settings, seed = clean_settings(settings), clean_settings({"seed": seed})["seed"]
        self.settings, self.clock = Settings(), clock
        self.lead_seconds = self.least_lead = lead_seconds
        s = replace(self.settings, **settings)
        if not isinstance(model, DiT):
            raise TypeError(f"a live session plays a diffusion model, not {type(model).__name__}.")
        how = {"steps": s.steps, "cfg_scale": s.cfg_scale}
        model = for_playing(model, precision)
        self.stream = stream_dit(model, s.prompt, s.block_latents, seed=seed, context=context, **how)
        # frames behind what the cache has read, at which context becomes final with or without the player
        self.latest = SLACK - model.config.granule
        self.encoder, self.mic = model.codec.stream_encoder(), Microphone()
        self.own = torch.zeros_like(self.mic.sound)  # what the model played, a ring
        self.made = self.stream.context  # its latents, (1, 64, n), as many as a window has
        self.before = self.stream.context.shape[-1]  # frames of context, with which the encoder begins
        if self.stream.heard.shape[-1]:
            self.encoder(self.stream.heard[None])
        self.number = self.frames = self.samples = 0  # made so far: blocks, latent frames, samples
        self.final = 0  # the frames before this one are as the player has left them
        self.encoded = 0  # sample up to which the encoder has heard
        self.own_bpm, self.player_bpm = self.stream.bpm, 0.0  # the prompt's tempo, and the player's; 0 = none
        # whether the clock is the player's; sample up to which the player's beat was looked for
        self.follows, self.looked = False, 0
        self.loop: Tensor | None = None  # latents that are played again and again
        self.played, self.moving, self.reported = 0.0, False, clock()  # the listener's last report
        # of what both play together, and what it is multiplied with for the model
        self.power, self.gain = 0.0, 1.0
        self.late_blocks, self.steps = 0, s.steps
        self.busy: deque[float] = deque(maxlen=4)  # real-time factors of the last blocks
        self.turned: list[tuple[str, dict]] = []
        self.log: deque[JamBlock] = deque(maxlen=4096)
        self.set(**settings)
        self.turned.clear()

    # -- time --------------------------------------------------------------------------------------------

    def report(
        self, played_seconds: float, moving: bool, at: float | None = None, left: float | None = None
    ) -> None:
        """So much has been heard, and sound is running or not; at: by the clock, if it was not just now.
        left: seconds of sound that were still to be heard when the last block came there, of several the
        least; None: none came."""
        if left is not None:
            later = self.lead_seconds + MARGIN - left if left < MARGIN else self.lead_seconds - LEAD_DECAY
            self.lead_seconds = max(self.least_lead, min(MOST_LEAD, later))
        now = self.clock()
        self.played, self.moving = played_seconds, moving
        self.reported = now if at is None else min(now, max(at, now - STALE))

    def lead(self) -> float:
        """Seconds of sound that are made and not heard yet; negative: silence has begun."""
        since = self.clock() - self.reported if self.moving else 0.0
        return self.samples / SAMPLE_RATE - self.played - since

    def due(self) -> bool:
        """Whether the next block should be begun: what is left must last while it is made."""
        slowest = max((block.ready - block.asked for block in list(self.log)[-RECENT:]), default=0.0)
        least = self.lead_seconds if self.moving else max(self.lead_seconds, FIRST_SECONDS)
        return self.lead() < max(least, 1.5 * slowest)

    # -- controls ----------------------------------------------------------------------------------------

    def set(self, **changes) -> None:
        """Turns settings from the next block on, see :class:`Settings`; `seed` begins another series of
        random numbers. Raises ValueError or TypeError for what cannot be played; then nothing has changed."""
        changes, names = clean_settings(changes), asdict(self.settings)
        unknown = set(changes) - {"seed", *names}
        if unknown:
            raise ValueError(
                f"a session has no setting {sorted(unknown)[0]!r}; there are: seed, {', '.join(names)}."
            )
        for name in ("mic_level", "output_level"):
            if not 0 <= changes.get(name, 1.0) <= 4:
                raise ValueError(f"{name} is {changes[name]}; it must be from 0 to 4.")
        seed = changes.get("seed")
        if changes.get("frozen") and self.made.shape[-1] < self._bar():
            raise ValueError("there is nothing to freeze yet: let it play a bar first.")
        self.stream.set(**{name: value for name, value in changes.items() if name in SETTINGS})
        self.settings = replace(
            self.settings, **{name: value for name, value in changes.items() if name in names}
        )
        if "prompt" in changes:
            self.own_bpm = self.stream.bpm
        if {"prompt", "follow"} & set(changes):
            self._set_tempo()
        self.steps = changes.get("steps", self.steps)
        if seed is not None:
            self.stream.reseed(seed)
        self.turned.append(("set", changes))

    def forget(self) -> None:
        """The model goes on as if nothing had been played; the sound does not break off."""
        self.stream.forget()
        self.player_bpm = 0.0
        self._set_tempo()
        self.final = self.frames
        self.turned.append(("forget", {}))

    # -- sound -------------------------------------------------------------------------------------------

    def hear(self, start: int, piece: Tensor, rate: int = SAMPLE_RATE) -> None:
        """What the player did from sample `start` of the output on, (2, n); pieces may come in any order, or
        not at all."""
        self.mic.put(start, piece, rate)

    def next_block(self, heard_until: int | None = None, steps: int | None = None) -> JamBlock:
        """Makes the next block, to be played where the last one ends. For a replay: heard_until and steps as
        a log has them."""
        asked, times = self.clock(), PartTimes(self.clock)
        if steps is None:
            self._adapt()
        self.stream.set(steps=steps or self.steps)
        with times.part("encoder"):
            player = self._take_in(heard_until)
        if self.settings.frozen:
            block = self.stream.play(self._looped())
        else:
            self._follow()
            self.loop = None
            block = next(self.stream)
        audio = soft_limit(block.audio)
        put_ring(self.own, self.samples, audio)
        self.made = torch.cat([self.made, block.latents[None]], -1)[..., -self.stream.model.config.window :]
        ready, lead, samples = self.clock(), self.lead(), audio.shape[1]
        if self.moving and lead < 0:
            self.late_blocks += 1
        self.busy.append((ready - asked) * SAMPLE_RATE / samples)
        made = JamBlock(
            self.settings.output_level * audio,
            self.number,
            self.samples,
            samples,
            asked,
            ready,
            {"encoder": times.seconds_of["encoder"]} | block.seconds_of,
            self.encoded,
            player,
            self.turned,
            lead,
            self.stream.bpm,
            self.follows,
            replace(self.settings, steps=self.stream.steps),
        )
        self.number, self.samples, self.frames = (
            self.number + 1,
            self.samples + samples,
            self.frames + block.latents.shape[-1],
        )
        self.turned = []
        self.log.append(replace(made, audio=torch.zeros(2, 0), player=torch.zeros(2, 0)))
        return made

    def _adapt(self) -> None:
        """Fewer steps if blocks take nearly as long as they last, more again if there is time to spare."""
        if len(self.busy) < self.busy.maxlen:
            return
        usual = sorted(self.busy)[len(self.busy) // 2]
        fewer, more = (
            [n for n in STEPS if n < self.steps],
            [n for n in STEPS if self.steps < n <= self.settings.steps],
        )
        if usual > BUSY and fewer:
            self.steps = fewer[-1]
        elif usual < IDLE and self.steps < self.settings.steps:
            self.steps = more[0] if more else self.settings.steps
        else:
            return
        self.busy.clear()  # the old ones say nothing about these steps

    def _take_in(self, heard_until: int | None) -> Tensor:
        """Lets the encoder hear what has come from the player, with what the model played, and corrects the
        context. Returns the player's part, (2, n)."""
        # frames before this one cannot be corrected any more
        oldest = self.frames - self.stream.unread - self.latest
        if self.final < oldest:
            self.mic.skip_to(min(oldest * FRAME_SAMPLES + ENCODER_AHEAD, self.samples))
        until = min(self.mic.until, self.samples) if heard_until is None else heard_until
        if until <= self.encoded:
            return torch.zeros(2, 0)
        player = get_ring(self.mic.sound, self.encoded, until)
        latents = self.encoder(
            self._level(get_ring(self.own, self.encoded, until) + self.settings.mic_level * player)[None]
        )
        self.encoded = until
        last = self.encoder.frames - self.before  # the frame after the newest that is known
        size = self.stream.context.shape[-1]
        first = max(self.final, self.frames - size, last - latents.shape[-1])
        self.final = max(self.final, last)
        # frames in which the player is silent stay as they were made
        playing = [first + i for i in range(last - first) if self._player_peak(first + i) > SILENCE]
        if playing:
            first = playing[0]
            at = size - (self.frames - first)
            mixed = self.stream.context[..., at : at + last - first].clone()
            rows = torch.tensor(playing) - first
            mixed[..., rows] = latents[..., rows - (last - first)]
            self.stream.correct(mixed, self.frames - first)
        return player

    def _level(self, mix: Tensor) -> Tensor:
        """What both play together, (2, n), not louder than music the model knows: it goes on as loud as what
        it hears, the player's sound comes on top of that, and so on."""
        share = 1 - math.exp(-mix.shape[1] / (LOUDNESS_SECONDS * SAMPLE_RATE))
        self.power += share * (float(mix.square().mean()) - self.power)
        before, self.gain = self.gain, min(1.0, LOUDNESS / max(self.power, 1e-9) ** 0.5)
        return mix * torch.linspace(before, self.gain, mix.shape[1])

    def _player_peak(self, frame: int) -> float:
        """How loud the player is for the model in a frame, and in what the encoder hears beyond it."""
        start = max(0, self.samples - (self.frames - frame) * FRAME_SAMPLES)
        return self.settings.mic_level * float(
            get_ring(self.mic.sound, start, start + FRAME_SAMPLES + ENCODER_LEAD).abs().max()
        )

    def _follow(self) -> None:
        """Looks for the player's beat now and then, and sets the clock by it: tempo, and the nearest beat;
        where the bar begins is not asked. Who falls silent is followed in what was played last."""
        if (
            not self.settings.follow
            or not self.settings.mic_level
            or self.encoded - self.looked < EVERY_SECONDS * SAMPLE_RATE
        ):
            return
        self.looked = self.encoded
        sound = get_ring(self.mic.sound, max(0, self.encoded - int(BEAT_SECONDS * SAMPLE_RATE)), self.encoded)
        bpm, clear = tempo(sound) if float(sound.abs().max()) > SILENCE else (0.0, 0.0)
        if clear < CLEAR_BEAT:
            return
        self.player_bpm = bpm
        self._set_tempo()
        if self.follows:
            ratio = self.stream.bpm / bpm  # of the octave
            ahead = (
                ratio * (beat_phase(sound, bpm) + (self.samples - self.encoded) / SAMPLE_RATE * bpm / 60)
                - self.stream.beat
            )
            grid = min(1.0, ratio)  # in beats of the clock
            self.stream.set_clock(beat=self.stream.beat + ahead - grid * round(ahead / grid))

    def _set_tempo(self) -> None:
        """The clock gets the player's tempo, in the octave that suits the prompt, or the prompt's if that
        names another one."""
        named = named_bpm(self.settings.prompt)
        self.follows = (
            self.settings.follow and self.player_bpm > 0 and (not named or same_tempo(self.player_bpm, named))
        )
        theirs = (
            nearest_octave(self.player_bpm, self.own_bpm)
            if self.follows and self.own_bpm
            else self.player_bpm
        )
        self.stream.set_clock(bpm=theirs if self.follows else self.own_bpm)

    def _bar(self) -> float:
        """Latent frames of a bar of four beats."""
        return 4 * 60 / self.stream.bpm * LATENT_RATE if self.stream.bpm > 0 else LOOP_FRAMES

    def _looped(self) -> Tensor:
        """The next latents (1, 64, block_latents) of the frozen loop: as many whole bars as are remembered of
        what the model made."""
        if self.loop is None:
            self.loop = self.made[..., -round(self._bar() * int(self.made.shape[-1] / self._bar())) :]
        size = self.settings.block_latents
        taken = self.loop.repeat(1, 1, -(-size // self.loop.shape[-1]))[..., :size]
        self.loop = self.loop.roll(-size, -1)
        return taken
