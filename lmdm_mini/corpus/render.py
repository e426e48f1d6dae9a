"""From notes to sound: four stems of a piece, played by FluidSynth, balanced and levelled.

A stem is a synthesiser of its own, so it can be heard, encoded or left out alone; the mix is *exactly*
the sum of the stems, because every gain that the mix needs (loudness, peaks) is applied to all four.

Notebook: 01_sound_to_latents.
"""

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F

from lmdm_mini.audio import SAMPLE_RATE, loudness
from lmdm_mini.corpus.fonts import FONTS, find_soundfont
from lmdm_mini.corpus.piece import STEMS, Note, Piece
from lmdm_mini.corpus.sampler import play_kit

GRID = 64  # FluidSynth starts notes on multiples of 64 samples (1.5 ms); so do we, which keeps it exact
TAIL_SECONDS = 2.0
LUFS = -16.0
CEILING_DB = -1.5  # of the samples; half a dB is left for peaks between them

# A stem this much louder or softer (dB, against the loudest stem) than `USUAL` by more than `SLACK_DB`
# is moved to the edge of that range: nothing drowns, and yet pieces keep balances of their own.
USUAL_DB = {"drums": -2.0, "bass": -3.0, "chords": -5.0, "lead": -2.0}
SLACK_DB = 4.0


@cache
def _fluidsynth():
    try:
        import fluidsynth
    except ImportError as error:
        raise FileNotFoundError(
            "FluidSynth is missing: install it with 'sudo apt install libfluidsynth3' (macOS: 'brew install "
            "fluid-synth') and the binding with 'pip install pyfluidsynth'"
        ) from error
    return fluidsynth


def _open_synth(path: str):
    synth = _fluidsynth().Synth(
        gain=0.35,
        samplerate=SAMPLE_RATE,
        channels=32,
        **{
            "synth.reverb.active": 0,
            "synth.chorus.active": 0,
            "synth.lock-memory": 0,
            "synth.polyphony": 192,
        },
    )
    font = synth.sfload(path)
    if font < 0:
        synth.delete()
        raise ValueError(f"{path} is not a sound font FluidSynth can read: install its package again")
    return synth, font


@cache
def _keep_samples(path: str):
    """A silent synthesiser that holds the samples in memory: opening the next one takes 0.1 s, not 8."""
    return _open_synth(path)


@cache
def _presets(path: str) -> frozenset[tuple[int, int]]:
    """(bank, program) of every drum kit of a font."""
    synth, font = _keep_samples(path)
    found = set()
    for program in range(128):
        if synth.sfpreset_name(font, 128, program) is not None:
            found.add((128, program))
    return frozenset(found | {(0, 0)})


@dataclass
class _Event:
    frame: int
    order: int  # note-offs first, so that a repeated note is not cut by its predecessor
    channel: int
    pitch: int
    velocity: int  # 0 is a note-off


def _events(notes: list[Note], channels: dict[str, int], bpm: float) -> list[_Event]:
    """Note-ons and note-offs on the 64-sample grid; a note ends when its own pitch is struck again."""
    frames_per_beat = 60.0 / bpm * SAMPLE_RATE
    by_key: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for note in notes:
        start = round(max(0.0, note.start) * frames_per_beat / GRID) * GRID
        end = round((note.start + note.duration) * frames_per_beat / GRID) * GRID
        key = (channels[note.track], int(note.pitch))
        by_key.setdefault(key, []).append((start, max(end, start + GRID), int(note.velocity)))
    events = []
    for (channel, pitch), spans in by_key.items():
        spans.sort()
        for i, (start, end, velocity) in enumerate(spans):
            if i + 1 < len(spans):
                if spans[i + 1][0] == start:  # two notes of one pitch at once: the louder (later) one
                    continue
                end = min(end, spans[i + 1][0])
            events.append(_Event(start, 1, channel, pitch, min(127, max(1, velocity))))
            events.append(_Event(end, 0, channel, pitch, 0))
    return sorted(events, key=lambda e: (e.frame, e.order, e.channel, e.pitch))


def _render_stem(piece: Piece, stem: str, notes: list[Note], font_name: str, frames: int) -> np.ndarray:
    """Notes of one stem by a synthesiser of its own: (2, frames) float32, at whatever level the font has."""
    if FONTS[font_name].samples:
        events = _events(notes, dict.fromkeys(piece.tracks[stem], 0), piece.bpm)
        return play_kit([(e.frame, e.pitch, e.velocity) for e in events if e.velocity], font_name, frames)
    path = str(find_soundfont(font_name))
    _keep_samples(path)
    synth, font = _open_synth(path)
    try:
        channels = {}
        for channel, (name, track) in enumerate(piece.tracks[stem].items()):
            channels[name] = channel
            bank = FONTS[font_name].kit_bank if stem == "drums" else 0
            program = track.program if bank or stem != "drums" else 0
            if stem == "drums" and (bank, program) not in _presets(path):
                program = 0  # kits are sparse in every General MIDI font; melodic programs are complete
            if synth.program_select(channel, font, bank, program) != 0:
                raise ValueError(f"{path} has no program {program} in bank {bank} ({stem}, {name})")
            synth.cc(channel, 7, round(127 * min(1.0, max(0.0, track.volume)) ** 0.5))  # CC7 is a square law
            synth.cc(channel, 10, round(64 + 63 * min(1.0, max(-1.0, track.pan))))
        unknown = {note.track for note in notes} - set(channels)
        if unknown:
            raise ValueError(f"{piece.tune_id}: notes on tracks {sorted(unknown)} that stem {stem!r} has not")

        audio = np.zeros((2, frames), np.float32)
        left, right = audio[0].ctypes.data, audio[1].ctypes.data
        write = _fluidsynth()._fl.fluid_synth_write_float
        handle = ctypes.c_void_p(synth.synth)

        def play(start: int, end: int) -> None:
            if end > start:
                write(
                    handle,
                    ctypes.c_int(end - start),
                    ctypes.c_void_p(left + 4 * start),
                    0,
                    1,
                    ctypes.c_void_p(right + 4 * start),
                    0,
                    1,
                )

        now = 0
        for event in _events(notes, channels, piece.bpm):
            frame = min(event.frame, frames)
            play(now, frame)
            now = frame
            if event.velocity:
                synth.noteon(event.channel, event.pitch, event.velocity)
            else:
                synth.noteoff(event.channel, event.pitch)
        play(now, frames)
        return audio
    finally:
        synth.delete()


def _parts(piece: Piece, stem: str, font: str, helper: str) -> list[tuple[list[Note], str]]:
    """(notes, font) of a stem. Drum keys that a kit does not have are played by the kit of `helper`."""
    notes = piece.stems[stem]
    if stem != "drums":
        return [(notes, font)]
    own = [note for note in notes if note.pitch in FONTS[font].kit_keys]
    return [(own, font), ([note for note in notes if note.pitch not in FONTS[font].kit_keys], helper)]


def render_raw(piece: Piece, fonts: Sequence[str]) -> torch.Tensor:
    """The stems before balance and loudness: (4, 2, N) float32, with a faded tail of 2 s."""
    frames = math.ceil((piece.seconds + TAIL_SECONDS) * SAMPLE_RATE / GRID) * GRID
    stems = np.zeros((len(STEMS), 2, frames), np.float32)
    for row, (stem, font) in enumerate(zip(STEMS, fonts)):
        for notes, name in _parts(piece, stem, font, fonts[2]):
            if notes:
                stems[row] += _render_stem(piece, stem, notes, name, frames)
    tail = int(TAIL_SECONDS * SAMPLE_RATE)
    stems[..., -tail:] *= np.cos(np.linspace(0.0, np.pi / 2, tail, dtype=np.float32)) ** 2
    return torch.from_numpy(stems)


def _playing_level(stem: torch.Tensor) -> float:
    """Level in dB of (2, N) while it plays: blocks of 0.4 s that are 30 dB under the loudest don't count."""
    block = int(0.4 * SAMPLE_RATE)
    power = stem[:, : stem.shape[1] // block * block].view(2, -1, block).square().mean(-1).sum(0)  # (blocks,)
    if power.max() < 1e-9:
        return -math.inf
    return 10 * math.log10(power[power > power.max() * 1e-3].mean().item())


def balance(stems: torch.Tensor) -> torch.Tensor:
    """Move stems that are far too loud or too soft to the edge of the usual range. (4, 2, N) -> (4, 2, N)."""
    levels = [_playing_level(stem) for stem in stems]
    loudest = max(levels)
    gains = torch.ones(len(STEMS))
    for row, stem in enumerate(STEMS):
        if math.isfinite(levels[row]):
            relative = levels[row] - loudest
            wanted = min(max(relative, USUAL_DB[stem] - SLACK_DB), USUAL_DB[stem] + SLACK_DB)
            gains[row] = 10 ** ((wanted - relative) / 20)
    return stems * gains[:, None, None]


def limiter_gain(mix: torch.Tensor, ceiling: float) -> torch.Tensor:
    """A smooth gain curve (N,) that holds |mix| (2, N) under `ceiling`; N must be a multiple of 64.

    Peaks are seen 6 ms ahead and let go over 6 ms; the curve is an average of required gains, each taken
    over a wider window than the average, so it is never above what a sample needs.
    """
    peaks = mix.abs().amax(0).view(1, 1, -1, GRID).amax(-1)  # (1, 1, blocks)
    needed = ceiling / F.max_pool1d(peaks, 11, stride=1, padding=5).clamp(min=ceiling)
    smooth = F.avg_pool1d(F.pad(needed, (4, 4), mode="replicate"), 9, stride=1)
    return F.interpolate(smooth, scale_factor=GRID, mode="linear", align_corners=False)[0, 0]


def level(stems: torch.Tensor) -> torch.Tensor:
    """-16 LUFS and peaks under -1 dBFS for the mix, by gains that all stems share. (4, 2, N) -> (4, 2, N)."""
    ceiling = 10 ** (CEILING_DB / 20)
    before = loudness(stems.sum(0))
    if not math.isfinite(before):
        raise ValueError("the piece is silent: nothing to level (has any stem notes?)")
    stems = stems * 10 ** ((LUFS - before) / 20)
    # Limiting by more than 6 dB is heard as pumping: a piece that needs more becomes softer instead.
    peak = stems.sum(0).abs().max().item()
    stems = stems * min(1.0, 2.0 * ceiling / peak)
    mix = stems.sum(0)
    if mix.abs().max() > ceiling:
        stems = stems * limiter_gain(mix, ceiling)
    loudest_stem = stems.abs().max().item()  # opposite phases can leave a stem above its mix
    return stems * min(1.0, 0.99 / loudest_stem)


def render(piece: Piece, fonts: str | Sequence[str]) -> torch.Tensor:
    """Play `piece`, dry, with the named sound font, or with one for each stem (drums, bass, chords, lead).

    Returns the four stems (4, 2, N) float32 at 44.1 kHz in the order of `STEMS`, N covering the piece and a
    faded tail of 2 s. Their sum is the mix: about -16 LUFS, peaks under -1 dBFS. A stem without notes is
    silent. The same piece and fonts give the same samples, whatever was rendered before.
    """
    return level(balance(render_raw(piece, (fonts,) * len(STEMS) if isinstance(fonts, str) else fonts)))
