"""The production of one piece: which effects each stem gets, what of it a listener would name, the mix bus.

Drawn piece by piece, so that one song is dry and close and the next one stands in a hall. The mix bus is
linear: one equaliser and one gain curve, the same for every stem, so the stems still sum to the mix.

Notebook: 01_sound_to_latents.
"""

import random
import re
from dataclasses import asdict, dataclass

import numpy as np
import torch
from scipy.signal import sosfilt

from lmdm_mini.corpus.effects import Clock, Room, StemEffects, apply
from lmdm_mini.corpus.piece import STEMS
from lmdm_mini.corpus.render import level
from lmdm_mini.corpus.rooms import shelf_filter

# style -> how likely: dry, room, hall, plate
ROOMS = {
    "chorale": (0.05, 0.2, 0.65, 0.1),
    "quartet": (0.1, 0.35, 0.5, 0.05),
    "ambient": (0.0, 0.1, 0.6, 0.3),
    "chiptune": (0.6, 0.2, 0.05, 0.15),
    "funk": (0.35, 0.45, 0.05, 0.15),
}
USUAL_ROOMS = (0.25, 0.35, 0.15, 0.25)
DUCKING = {"house": 0.75, "techno": 0.7, "breakbeat": 0.2}  # how often a kick pushes the rest down
ECHOES = {
    "reggae": 0.8,
    "techno": 0.5,
    "ambient": 0.4,
    "house": 0.3,
    "breakbeat": 0.3,
    "lofi": 0.15,
    "rock": 0.25,
}
SWEEPS = {"techno": 0.6, "house": 0.25}
SATURATED = {"lofi": 0.6, "rock": 0.4, "funk": 0.4, "techno": 0.4, "breakbeat": 0.4}
ACOUSTIC = ("chorale", "quartet", "folk", "jazz")  # hardly any effects but the room
KEYS = ("electric piano", "guitar", "pad", "strings", "organ", "clavinet")  # sounds that suit a chorus


@dataclass(frozen=True)
class Production:
    """Everything that is drawn for a piece."""

    room: Room
    stems: dict[str, StemEffects]
    bus_low_db: float
    bus_high_db: float


def draw_room(rng: random.Random, style: str) -> Room:
    kind = rng.choices(("dry", "room", "hall", "plate"), ROOMS.get(style, USUAL_ROOMS))[0]
    seconds = {"dry": (0.1, 0.1), "room": (0.3, 0.8), "hall": (1.2, 3.2), "plate": (0.9, 2.2)}[kind]
    bright = {"plate": (0.7, 1.0), "hall": (0.2, 0.6)}.get(kind, (0.2, 0.8))
    near = {"room": (0.003, 0.01), "hall": (0.012, 0.03)}.get(kind, (0.001, 0.004))
    return Room(kind, rng.uniform(*seconds), rng.uniform(*bright), rng.uniform(*near), rng.randrange(2**31))


def _draw_stem(rng: random.Random, entry: dict, stem: str, room: Room) -> StemEffects:
    style, tracks = entry["style"], entry["tracks"][stem]
    words = " ".join(track["instrument"] for track in tracks)
    gentle = 0.4 if style in ACOUSTIC else 1.0
    values = {
        "low_db": rng.uniform(-3, 3) * gentle,
        "bell_hz": rng.uniform(300, 3500),
        "bell_db": rng.uniform(-4, 4) * gentle,
        "high_db": rng.uniform(-4, 4) * gentle - (3 if style == "lofi" else 0),
    }
    if any(track["amp"] for track in tracks):
        values |= {"amp_db": rng.uniform(16, 44), "cabinet_hz": rng.uniform(3800, 6000)}
    if rng.random() < (0.15 if style in ACOUSTIC else 0.6):
        values |= {"ratio": rng.uniform(1.5, 4.5), "threshold_db": rng.uniform(-6, 4)}
    if rng.random() < SATURATED.get(style, 0.1 if style in ACOUSTIC else 0.2):
        values["drive_db"] = rng.uniform(4, 14)
    suits = stem in ("chords", "lead") and style not in ACOUSTIC and any(key in words for key in KEYS)
    if suits and rng.random() < 0.3:
        values["chorus"] = rng.uniform(0.2, 0.5)
    if stem in ("chords", "lead") and rng.random() < SWEEPS.get(style, 0.0):
        values["sweep_bars"] = rng.choice((4, 8, 16))
    if stem in ("chords", "lead") and rng.random() < ECHOES.get(style, 0.05):
        values |= {
            "echo_beats": rng.choice((0.75, 0.75, 0.5, 1.0, 1.5)),
            "echo_share": rng.uniform(0.2, 0.55),
            "echo_feedback": rng.uniform(0.3, 0.6),
        }
    wet = float(np.mean([track["reverb"] for track in tracks]))
    if room.kind != "dry":
        far = {"drums": 0.7, "bass": 0.3}.get(stem, 1.0)
        values["room"] = min(0.9, far * (0.15 + wet) * rng.uniform(0.6, 1.3))
    if stem in ("chords", "lead") and rng.random() < 0.5:
        values["width"] = rng.uniform(0.5, 1.6)
    return StemEffects(**values)


def draw_production(rng: random.Random, entry: dict) -> Production:
    """Effects for a piece of this description (an entry of a manifest of dry stems)."""
    room = draw_room(rng, entry["style"])
    stems = {stem: _draw_stem(rng, entry, stem, room) for stem in STEMS if stem in entry["tracks"]}
    if rng.random() < DUCKING.get(entry["style"], 0.0):
        depth = rng.uniform(4, 14)
        for stem in ("bass", "chords", "lead"):
            if stem in stems:
                share = {"bass": 0.8, "chords": 1.0, "lead": 0.5}[stem]
                stems[stem] = StemEffects(**asdict(stems[stem]) | {"duck_db": depth * share})
    return Production(room, stems, rng.uniform(-2, 2), rng.uniform(-2.5, 2.5))


def mix_bus(stems: torch.Tensor, low_db: float, high_db: float) -> torch.Tensor:
    """One equaliser and one gain curve for every stem: (4, 2, N), N a multiple of 64; they sum to the mix."""
    bands = np.concatenate([shelf_filter(120, low_db, high=False), shelf_filter(6000, high_db, high=True)])
    return level(torch.from_numpy(sosfilt(bands, stems.numpy(), axis=-1).astype(np.float32)))


def produce(stems: torch.Tensor, production: Production, clock: Clock) -> torch.Tensor:
    """Dry stems (4, 2, N) after their effects and the mix bus: (4, 2, N) float32 that sum to the mix.

    The tail fades out as it did. Raises ValueError for a piece that is silent.
    """
    wet = torch.zeros_like(stems)
    for row, stem in enumerate(STEMS):
        if stem in production.stems:
            wet[row] = torch.from_numpy(
                apply(stems[row].numpy(), production.stems[stem], room=production.room, clock=clock)
            )
    fade = min(44_100, stems.shape[-1])  # what a room or an echo still holds when the file ends
    wet[..., -fade:] *= torch.linspace(0, np.pi / 2, fade).cos() ** 2
    return mix_bus(wet, production.bus_low_db, production.bus_high_db)


def audible(production: Production) -> dict[str, list[str]]:
    """What a listener would name, of the mix and of every stem: {"mix": ["roomy"], "lead": ["echoing"]}."""
    room = production.room
    heard = {"mix": {"dry": ["dry"], "room": ["roomy"], "hall": ["reverberant"], "plate": []}[room.kind]}
    if any(effects.duck_db > 7 for effects in production.stems.values()):
        heard["mix"].append("pumping")
    for stem, effects in production.stems.items():
        words = []
        if effects.amp_db > 24:
            words.append("distorted")
        elif effects.amp_db:
            words.append("overdriven")
        if effects.echo_share > 0.3:
            words.append("echoing")
        if effects.chorus > 0.3:
            words.append("chorused")
        if effects.sweep_bars:
            words.append("filtered")
        if effects.room > 0.45 and room.kind != "dry":
            words.append("distant" if room.kind == "hall" else "roomy")
        heard[stem] = words
    return heard


def with_effects(entry: dict, heard: dict[str, list[str]], rng: random.Random) -> tuple[dict, dict]:
    """(captions, instruments) that name what is audible: amplified guitars always, the rest now and then."""
    captions = {view: list(some) for view, some in entry["captions"].items()}
    instruments = {stem: list(some) for stem, some in entry["instruments"].items()}
    for stem, tracks in entry["tracks"].items():
        adjective = next((word for word in heard.get(stem, []) if word in ("distorted", "overdriven")), None)
        if adjective is None:
            continue
        for old in {track["instrument"] for track in tracks if track["amp"]}:
            new = f"{adjective} {old.removeprefix('electric ')}"
            instruments[stem] = [new if word == old else word for word in instruments[stem]]
            for view in ("mix", stem):
                captions[view] = [_renamed(text, old, new) for text in captions.get(view, [])]
    for view, some in captions.items():
        words = [w for w in heard.get(view, []) if w not in ("distorted", "overdriven")]
        words = words or (heard["mix"] if view != "mix" else [])
        captions[view] = [
            f"{text}, {rng.choice(words)}" if words and rng.random() < 0.5 else text for text in some
        ]
    return captions, instruments


def _renamed(text: str, old: str, new: str) -> str:
    """The caption with an instrument renamed, except in a name of the style ("electric guitar rock")."""

    def swap(found: re.Match) -> str:
        return ("" if not found[1] else "an " if new[0] in "aeiou" else "a ") + new

    return re.sub(rf"\b(an? )?{re.escape(old)}\b(?! rock)", swap, text)
