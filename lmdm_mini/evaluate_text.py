"""A text-to-music model judged: does it sound like the corpus, does it do what the prompt says, is it music, is it new?

- FD, the Fréchet distance between embeddings of what a model makes and of real music, in two embeddings: our small CLAP's,
  and CREPE's, a pitch tracker that none of our models has seen. A floor (real against real) and what two styles of the
  corpus are apart give it a scale.
- KL between the tagger's posteriors of a clip and of the real piece its prompt describes; CLAP score: cosine of a clip
  and its prompt.
- Style by the tagger for wording that the captions use and for wording that they never use; tempo against the prompt's.
- Key clarity, level, silence (`musical.py`), and how near the nearest window of the training set is.

The table has control rows that must come out worse: white-noise latents, the untrained model, real music shuffled in time.

Notebook: 02_rectified_flow. Paper: section 4, Table 1.
"""

import argparse
import json
import random
import time
from functools import lru_cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from torch import Tensor
from tqdm import tqdm

from lmdm_mini import musical
from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.clap import STYLES, Clap, embed_audio, embed_prompts, load_clap
from lmdm_mini.codec import FRAME_SAMPLES, LATENT_CHANNELS, Codec, load_codec
from lmdm_mini.complexity import rtf, time_to_first_audio
from lmdm_mini.conditioning import encode_text, parse_bpm
from lmdm_mini.corpus.captions import HELD_OUT_WORDING
from lmdm_mini.corpus.data import load_manifest, pieces, read_piece
from lmdm_mini.corpus.latents import LatentPiece, read_latents
from lmdm_mini.dit import DiT, load
from lmdm_mini.evaluate import DATA
from lmdm_mini.flow import euler, schedule
from lmdm_mini.metrics import frechet_distance
from lmdm_mini.streaming import guided, stream

FRAMES = 240  # latent frames of a clip, 11.1 s
RHYTHMIC = ("house", "funk", "lofi", "chiptune")
CREPE_CHANNELS = 64


@lru_cache(maxsize=1)
def _crepe_projection(channels: int) -> Tensor:
    """A fixed random orthogonal map to few dimensions: this many clips could not fill more with a covariance."""
    generator = torch.Generator().manual_seed(0)
    return torch.linalg.qr(torch.randn(channels, CREPE_CHANNELS, generator=generator, dtype=torch.float64))[0].float()


@torch.inference_mode()
def embed_crepe(audio: Tensor) -> Tensor:
    """Clips (B, 2, N) -> (B, 64): CREPE's last hidden layer, mean and deviation over time, projected."""
    import torchcrepe

    mono = AF.resample(audio.mean(1), SAMPLE_RATE, torchcrepe.SAMPLE_RATE)  # (B, n)
    pooled = []
    for clip in mono:
        states = torchcrepe.embed(clip[None], torchcrepe.SAMPLE_RATE, hop_length=1600, model="tiny", batch_size=256)[0].flatten(1)
        pooled.append(torch.cat([states.mean(0), states.std(0)]))
    pooled = torch.stack(pooled)
    return pooled @ _crepe_projection(pooled.shape[1])


# -- what is judged ----------------------------------------------------------------------------------


@torch.inference_mode()
def make_clips(model: DiT, prompts: list[str], steps: int, cfg_scale: float, seed: int = 0, batch: int = 16) -> Tensor:
    """One window of latents a prompt, (B, 64, 240); live variants play it block after block."""
    generator, made = torch.Generator().manual_seed(seed), []
    if model.config.variant != "bidirectional":
        for i, prompt in enumerate(tqdm(prompts, desc="playing", leave=False)):
            playing = stream(model, prompt, 48, steps, cfg_scale, seed + i)
            made.append(torch.cat([next(playing).latents for _ in range(FRAMES // 48)], -1))
        return torch.stack(made)
    for i in tqdm(range(0, len(prompts), batch), desc="generating", leave=False):
        text = encode_text(prompts[i : i + batch])
        noise = torch.randn(len(text.bpm), LATENT_CHANNELS, FRAMES, generator=generator)
        made.append(euler(lambda x, t, text=text: guided(model, text, cfg_scale, x, torch.full((len(x),), t)), noise, schedule(steps)))
    return torch.cat(made)


def decode_clips(codec: Codec, latents: Tensor) -> Tensor:
    """(B, 64, T) -> (B, 2, T*2048), a few at a time."""
    return torch.cat([codec.decode(some) for some in tqdm(latents.split(8), desc="decoding", leave=False)])


def shuffle_time(audio: Tensor, seed: int = 0) -> Tensor:
    """Clips (B, 2, N) with their tenths of a second in random order: the same sounds, no music."""
    generator, size = torch.Generator().manual_seed(seed), SAMPLE_RATE // 10
    parts = audio[..., : audio.shape[-1] // size * size].unflatten(-1, (-1, size))
    return torch.stack([clip[:, torch.randperm(parts.shape[2], generator=generator)] for clip in parts]).flatten(2)


def real_windows(corpus, codec: Codec, splits: tuple[str, ...], each: int, seed: int = 0) -> tuple[Tensor, Tensor, list[dict]]:
    """`each` windows of every style: audio (B, 2, N), latents (B, 64, 240) and the corpus entries they are cut from."""
    rng, manifest, audio, latents, entries = random.Random(seed), load_manifest(corpus), [], [], []
    for style in STYLES:
        there = [entry for split in splits for entry in pieces(manifest, split, style)]
        if not there:
            raise ValueError(f"the corpus in {corpus} has no piece of {style!r} in {' or '.join(splits)}: build more hours.")
        for i in range(each):
            entry = there[i % len(there)]
            z = read_latents(entry, "mix", codec.fingerprint)
            start = rng.randrange(z.shape[1] - FRAMES)
            sound = read_piece(entry, start * FRAME_SAMPLES / SAMPLE_RATE, FRAMES * FRAME_SAMPLES / SAMPLE_RATE)["mix"]
            audio.append(F.pad(sound, (0, FRAMES * FRAME_SAMPLES - sound.shape[1])))
            latents.append(z[:, start : start + FRAMES])
            entries.append(entry)
    return torch.stack(audio), torch.stack(latents), entries


def captions_of(entries: list[dict], seed: int = 0) -> list[str]:
    """A random caption of each entry."""
    rng = random.Random(seed)
    return [rng.choice(entry["captions"]["mix"]) for entry in entries]


# -- scores ------------------------------------------------------------------------------------------


def embed_clips(clap: Clap, audio: Tensor) -> dict[str, Tensor]:
    """Both embeddings and the tagger's log-posteriors of clips (B, 2, N)."""
    sound = embed_audio(clap, audio)
    with torch.inference_mode():
        return {"clap": sound, "crepe": embed_crepe(audio), "style": clap.style_head(sound).log_softmax(-1)}


def style_scale(reference: dict[str, Tensor], styles: Tensor, name: str) -> float:
    """Median FD between two real styles in embedding `name`: the scale of the distances."""
    parts = [reference[name][styles == i] for i in range(len(STYLES))]
    pairs = [frechet_distance(a, b) for i, a in enumerate(parts) for b in parts[:i]]
    return float(torch.tensor(pairs).median())


def row_of(clap: Clap, audio: Tensor, reference: dict, prompts: list[str], wanted: Tensor, real_style: Tensor) -> dict:
    """One row of the table: clips (B, 2, N) against the reference and against what they were asked to be."""
    own = embed_clips(clap, audio)
    words = embed_prompts(clap, prompts)
    tempi = [musical.tempo(clip) for clip in audio]
    asked = [(found, parse_bpm(p)) for (found, _), p, s in zip(tempi, prompts, wanted) if parse_bpm(p) and STYLES[s] in RHYTHMIC]
    found = own["style"].argmax(-1)
    return {
        "fd_clap": frechet_distance(own["clap"], reference["clap"]),
        "fd_crepe": frechet_distance(own["crepe"], reference["crepe"]),
        "kl": float((real_style.exp() * (real_style - own["style"])).sum(-1).mean()),
        "clap_score": float((F.normalize(own["clap"], dim=-1) * words).sum(-1).mean()),
        "style_right": float((found == wanted).float().mean()),
        "styles_missing": [STYLES[i] for i in range(len(STYLES)) if not (found == i).any()],
        "tempo_right": sum(musical.same_tempo(*pair) for pair in asked) / len(asked) if asked else None,
        "beat": float(torch.tensor([strength for _, strength in tempi]).mean()),
        "key_clarity": float(torch.tensor([musical.key_clarity(clip) for clip in audio]).mean()),
        "loudness_db": float(torch.tensor([musical.loudness_db(clip) for clip in audio]).mean()),
        "silence": float(torch.tensor([musical.silence_ratio(clip) for clip in audio]).mean()),
    }


def novelty(latents: Tensor, train: list[LatentPiece], size: int = 48, step: int = 8) -> Tensor:
    """Distance of the middle 2.2 s of each clip (B, 64, T) to the nearest stretch of the training set, (B,).

    Frames are averaged in fours first, so that a copy a little off is still found.
    """
    def pooled(z: Tensor) -> Tensor:
        return F.avg_pool1d(z, 4)

    middle = (latents.shape[-1] - size) // 2
    clips = pooled(latents[..., middle : middle + size])
    nearest = torch.full((len(clips),), float("inf"))
    for piece in train:
        bank = torch.cat([pooled(piece.latents.float()[:, i:]).unfold(1, size // 4, step // 4).transpose(0, 1) for i in range(0, step, 2)])
        nearest = torch.minimum(nearest, musical.nearest_distance(clips, bank))
    return nearest


def evaluate_text(model: DiT, corpus, clips: int = 256, steps: int = 16, cfg_scale: float = 3.0, seed: int = 0, out=None) -> dict:
    """The table of one model, as a dict that JSON can hold; `out` writes it, and as Markdown next to it."""
    codec, clap = load_codec(), load_clap()
    each = clips // len(STYLES)
    reference_audio, _, entries = real_windows(corpus, codec, ("train",), 3 * each, seed)
    reference = embed_clips(clap, reference_audio)
    styles = torch.tensor([STYLES.index(e["style"]) for e in entries])
    scale = {name: style_scale(reference, styles, name) for name in ("clap", "crepe")}
    audio, latents, entries = real_windows(corpus, codec, ("test", "valid"), each, seed)
    wanted = torch.tensor([STYLES.index(e["style"]) for e in entries])
    prompts = captions_of(entries, seed)
    real_style = embed_clips(clap, audio)["style"]
    score = partial(row_of, clap, reference=reference, prompts=prompts, wanted=wanted, real_style=real_style)
    rows = {"real": score(audio), "codec": score(decode_clips(codec, latents)), "real, shuffled in time": score(shuffle_time(audio))}
    generator = torch.Generator().manual_seed(seed)
    rows["white-noise latents"] = score(decode_clips(codec, torch.randn(latents.shape, generator=generator)))
    torch.manual_seed(seed)
    untrained = DiT(model.config).eval()
    untrained.frames_out.reset_parameters()  # it starts at zero, and would give back the noise
    rows["untrained"] = score(decode_clips(codec, make_clips(untrained, prompts, 4, 1.0, seed)))

    start = time.perf_counter()
    made = make_clips(model, prompts, steps, cfg_scale, seed)
    seconds = time.perf_counter() - start
    sound = decode_clips(codec, made)
    unseen = [(style, words) for style in STYLES for words in HELD_OUT_WORDING[style] for _ in range(max(1, each // 4))]
    heard = embed_clips(clap, decode_clips(codec, make_clips(model, [words for _, words in unseen], steps, cfg_scale, seed + 1)))["style"]
    right = heard.argmax(-1) == torch.tensor([STYLES.index(style) for style, _ in unseen])
    train = [LatentPiece(e["id"], e["style"], e["bpm"], [], read_latents(e, "mix", codec.fingerprint).half())
             for e in pieces(load_manifest(corpus), "train")]
    near, usual = novelty(made, train), novelty(latents, train)
    begin = partial(stream, model, prompts[0], 48, steps, cfg_scale)
    rows[model.name] = score(sound) | {
        "style_right_unseen": float(right.float().mean()), "nfe": steps * (1 if cfg_scale == 1 else 2),
        "ttff": time_to_first_audio(begin), "rtf": rtf(seconds, sound.shape[0] * sound.shape[-1] / SAMPLE_RATE),
        "nearest": float(near.median()), "nearest_real": float(usual.median()),
        "copies": float((near < 0.5 * usual.quantile(0.02)).float().mean()),
    }
    for row in rows.values():
        for name in scale:  # 0 = as near as real music, 1 = as far as another style
            row[f"fd_{name}_share"] = (row[f"fd_{name}"] - rows["real"][f"fd_{name}"]) / scale[name]
    table = {"model": model.name, "clips": len(prompts), "steps": steps, "cfg_scale": cfg_scale, "seed": seed, "scale": scale,
             "judge": clap.facts, "rows": rows}
    if out is not None:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_text(json.dumps(table, indent=1) + "\n")
        Path(out).with_suffix(".md").write_text(markdown(table))
    return table


COLUMNS = (("FD CLAP", "fd_clap", "{:.2f}"), ("of a style", "fd_clap_share", "{:.0%}"), ("FD CREPE", "fd_crepe", "{:.3f}"),
           ("of a style", "fd_crepe_share", "{:.0%}"), ("KL", "kl", "{:.2f}"), ("CLAP score", "clap_score", "{:.2f}"),
           ("style right", "style_right", "{:.0%}"), ("unseen wording", "style_right_unseen", "{:.0%}"),
           ("tempo right", "tempo_right", "{:.0%}"), ("beat", "beat", "{:.2f}"), ("key clarity", "key_clarity", "{:.2f}"),
           ("level dB", "loudness_db", "{:.0f}"), ("silence", "silence", "{:.0%}"), ("NFE", "nfe", "{}"), ("TTFF s", "ttff", "{:.2f}"),
           ("RTF", "rtf", "{:.2f}"), ("copies", "copies", "{:.0%}"))


def markdown(table: dict) -> str:
    """The table of :func:`evaluate_text` as Markdown."""
    lines = [f"# {table['model']}: {table['clips']} clips of 11 s, {table['steps']} steps, guidance {table['cfg_scale']:g}", "",
             f"| | {' | '.join(head for head, _, _ in COLUMNS)} |", "|---" + "|---:" * len(COLUMNS) + "|"]
    for name, row in table["rows"].items():
        cells = ["" if row.get(key) is None else form.format(row[key]) for _, key, form in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    made, judge = table["rows"][table["model"]], table["judge"]
    lines += ["", "FD: distance to real music of the train split; 'of a style': with the floor (row 'real') subtracted, as a share of "
              "the median distance of two real styles. Level in dB below full scale. RTF is of the network alone, 16 clips at a time.", "",
              f"- styles missing among the clips: {', '.join(made['styles_missing']) or 'none'}",
              f"- nearest stretch of the training set: {made['nearest']:.2f}, for real music of the test split {made['nearest_real']:.2f}",
              f"- the judge finds the caption of a window among {judge['candidates']} pieces at first try in {judge['recall_at_1']:.0%}, among "
              f"five in {judge['recall_at_5']:.0%}; style right in {judge['style_accuracy']:.0%} (test split)"]
    return "\n".join(lines) + "\n"


def run(args: argparse.Namespace) -> dict:
    """Runs ``evaluate text`` with parsed arguments and prints the table."""
    if args.clips < len(STYLES):
        raise ValueError(f"--clips is {args.clips}; every one of the {len(STYLES)} styles needs at least one.")
    out = args.out or DATA / "results" / f"text_{args.model}.json"
    table = evaluate_text(load(args.model), args.corpus, args.clips, args.steps, args.cfg_scale, args.seed, out)
    print(markdown(table))
    return table
