"""Does a change leave the music as it was? Writes what every model plays, or compares it with what was
written before.

    python tests/same_music.py write runs/music.safetensors     # before a change
    python tests/same_music.py check runs/music.safetensors     # after it, on the same machine

Compared are all models at three settings each, the codec (at once and in pieces) and a jam session, sample by
sample; the largest difference may be 1e-5. It takes about two minutes. Another processor adds in another
order, so a file is good for one machine.
"""

import sys

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import lmdm_mini as lm
from lmdm_mini.live.engine import Engine

TOLERANCE = 1e-5
CLIP = "data/clips/funk-1.flac"
RATE = 44100


def settings_of(name: str) -> list[dict]:
    """Three ways to play a model: guided blocks of 48, a mixture unguided in short blocks, and going on from
    a recording."""
    discrete = name == "lmm"
    return [
        {"prompt": "funk with slap bass, 106 bpm", "seconds": 5.0, "seed": 0}
        | ({"top_k": 20} if discrete else {"steps": 4}),
        {
            "prompt": [("house", 0.7), ("choir", 0.3)],
            "seconds": 3.0,
            "seed": 1,
            "block_latents": 24,
            "cfg_scale": 1.0,
        }
        | ({"temperature": 0.9} if discrete else {"steps": 2, "sampler": "pingpong"}),
        {"prompt": "", "seconds": 3.0, "seed": 2, "block_latents": 12, "context": lm.read_audio(CLIP)}
        | ({} if discrete else {"steps": 3}),
    ]


def jam() -> Tensor:
    """Ten blocks of a session that hears a recording half a second late, changes its prompt, freezes and lets
    go."""
    sound = lm.read_audio(CLIP)
    engine = Engine(lm.load("block_causal"), seed=3, prompt="house", steps=2, clock=lambda: 0.0)
    heard, parts = 0, []
    for number in range(10):
        until = max(0, engine.samples - RATE // 2)
        if until > heard:
            engine.hear(heard, sound[:, heard:until])
            heard = until
        if number == 4:
            engine.set(prompt="jazz, 140 bpm", cfg_scale=1.5)
        if number in (6, 8):
            engine.set(frozen=number == 6)
        parts.append(engine.next_block(steps=2).audio)
    return torch.cat(parts, 1)


def play_all() -> dict[str, Tensor]:
    """Everything that is compared: its name and its sound."""
    codec, clip = lm.load_codec(), lm.read_audio(CLIP)[None]
    latents = codec.encode(clip)
    made = {"codec/latents": latents, "codec/audio": codec.decode(latents)}
    decoder = codec.stream_decoder()
    made["codec/stream"] = torch.cat([decoder(piece) for piece in latents.split(7, -1)], -1)
    for name in ("bidirectional", "enc_dec", "block_causal", "lmm"):
        model = lm.load(name)
        for number, settings in enumerate(settings_of(name)):
            made[f"{name}/{number}"] = lm.generate(model, **settings)
    return {name: sound.clone().contiguous() for name, sound in (made | {"jam": jam()}).items()}


def main(what: str, path: str) -> int:
    torch.set_num_threads(1)
    made = play_all()
    if what == "write":
        save_file(made, path)
        before = made
    else:
        before = load_file(path)
    worst = 0.0
    for name, sound in made.items():
        same = name in before and sound.shape == before[name].shape
        difference = (sound - before[name]).abs().max().item() if same else float("inf")
        worst = max(worst, difference)
        print(
            f"{name:20} {tuple(sound.shape)!s:20} rms {sound.square().mean().sqrt():.4f}  difference "
            f"{difference:.1e}"
        )
    print("the same music" if worst <= TOLERANCE else f"other music: differences up to {worst:.1e}")
    return worst > TOLERANCE


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("write", "check"):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
