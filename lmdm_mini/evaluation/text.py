"""A text-to-music model judged: does it sound like the corpus, does it do what the prompt says, is it music,
is it new?

- FD, the Fréchet distance between embeddings of what a model makes and of real music, in two embeddings: our
  small CLAP's, and CREPE's, a pitch tracker that none of our models has seen. A floor (real against real) and
  what two styles of the corpus are apart give it a scale.
- KL between the tagger's posteriors of a clip and of the real piece its prompt describes; CLAP score: cosine
  of a clip and its prompt.
- Style by the tagger for wording that the captions use and for wording that they never use; tempo against the
  prompt's.
- Key clarity, level, silence (`musical.py`), and how near the nearest window of the training set is.

The table has control rows that must come out worse: white-noise latents, the untrained model, real music
shuffled in time. What real music scores was computed once (`real_music.py`), so no corpus is needed here.

Notebook: 02_rectified_flow. Paper: section 4, Table 1.
"""

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.checkpoints import LATENTS
from lmdm_mini.codec.codec import FRAME_SAMPLES, LATENT_CHANNELS, Codec, load_codec
from lmdm_mini.complexity.counts import block_passes, network_evaluations
from lmdm_mini.complexity.timing import rtf, time_to_first_audio
from lmdm_mini.conditioning.text import encode_text
from lmdm_mini.corpus.captions import HELD_OUT_WORDING
from lmdm_mini.diffusion.dit import DiT
from lmdm_mini.diffusion.flow import euler, schedule
from lmdm_mini.evaluation.judges import embed_audio, load_clap
from lmdm_mini.evaluation.real_music import (
    FRAMES,
    Reference,
    load_reference,
    measure,
    novelty,
)
from lmdm_mini.files import write_text
from lmdm_mini.latents.packed import read_packed
from lmdm_mini.models import Model, described, guides_in_one_pass, sampling, stream, untrained_like
from lmdm_mini.streaming import guided


@torch.inference_mode()
def make_clips(
    model: Model, prompts: list[str], cfg_scale: float, *, seed: int = 0, batch: int = 16, **settings
) -> Tensor:
    """Returns one window of latents for each prompt, (B, 64, 240). All models but the base play it block
    after block. settings: see :func:`lmdm_mini.models.sampling`."""
    generator, made = torch.Generator().manual_seed(seed), []
    if not isinstance(model, DiT) or model.variant.caches:
        for i, prompt in enumerate(tqdm(prompts, desc="playing", leave=False)):
            playing = stream(model, prompt, 48, cfg_scale, seed + i, **settings)
            made.append(torch.cat([next(playing).latents for _ in range(FRAMES // 48)], -1))
        return torch.stack(made)
    for i in tqdm(range(0, len(prompts), batch), desc="generating", leave=False):
        text = encode_text(prompts[i : i + batch])
        noise = torch.randn(len(text.bpm), LATENT_CHANNELS, FRAMES, generator=generator)
        made.append(
            euler(
                lambda x, t, text=text: guided(model, text, cfg_scale, x, torch.full((len(x),), t)),
                noise,
                schedule(settings["steps"]),
            )
        )
    return torch.cat(made)


def decode_clips(codec: Codec, latents: Tensor) -> Iterator[Tensor]:
    """(B, 64, T) -> audio (8, 2, T*2048), a few clips at a time."""
    return (codec.decode(some) for some in tqdm(latents.split(8), desc="decoding", leave=False))


def evaluate_text(
    model: Model,
    cfg_scale: float = 2.0,
    seed: int = 0,
    out=None,
    reference: Reference | None = None,
    **settings,
) -> dict:
    """The table of one model, as a dict that JSON can hold; `out` writes it, and as Markdown next to it.
    reference: None is the shipped one. settings: see :func:`lmdm_mini.models.sampling`."""
    settings = sampling(model, **settings)
    stream(model, "", 48, cfg_scale, seed, **settings)  # refuses a wrong number before minutes have passed
    codec, clap = load_codec(), load_clap()
    reference = reference or load_reference(clap, codec)
    prompts, rows = reference.prompts, dict(reference.rows)

    def score(latents: Tensor) -> dict:
        return reference.row(clap, measure(clap, decode_clips(codec, latents)))

    generator = torch.Generator().manual_seed(seed)
    rows["white-noise latents"] = score(
        torch.randn(len(prompts), LATENT_CHANNELS, FRAMES, generator=generator)
    )
    first = settings | ({"steps": 4} if "steps" in settings else {})
    rows["untrained"] = score(make_clips(untrained_like(model, seed), prompts, 1.0, seed=seed, **first))

    start = time.perf_counter()
    made = make_clips(model, prompts, cfg_scale, seed=seed, **settings)
    seconds = time.perf_counter() - start
    unseen = [
        (style, words)
        for style in clap.styles
        for words in HELD_OUT_WORDING[style]
        for _ in range(max(1, len(prompts) // 32))
    ]
    sounds = decode_clips(
        codec, make_clips(model, [words for _, words in unseen], cfg_scale, seed=seed + 1, **settings)
    )
    found = torch.cat([clap.style_head(embed_audio(clap, audio)).argmax(-1) for audio in sounds])
    right = found == torch.tensor([clap.styles.index(style) for style, _ in unseen])
    near = novelty(made, read_packed(LATENTS / "train.safetensors", codec.fingerprint))
    begin = partial(stream, model, prompts[0], 48, cfg_scale, **settings)
    twice = cfg_scale != 1 and not guides_in_one_pass(model)
    passes = block_passes(model.config, 0, 48, steps=settings.get("steps", 0), tokens=1, guided=twice)
    rows[model.name] = score(made) | {
        "style_right_unseen": float(right.float().mean()),
        "nfe": network_evaluations(passes),
        "ttff": time_to_first_audio(begin),
        "rtf": rtf(seconds, len(made) * FRAMES * FRAME_SAMPLES / SAMPLE_RATE),
        "nearest": float(near.median()),
        "nearest_real": float(reference.novelty.median()),
        "copies": float((near < 0.5 * reference.novelty.quantile(0.02)).float().mean()),
    }
    for row in rows.values():
        for name, scale in reference.scale.items():  # 0 = as near as real music, 1 = as far as another style
            row[f"fd_{name}_share"] = (row[f"fd_{name}"] - rows["real"][f"fd_{name}"]) / scale
    table = {
        "model": model.name,
        "clips": len(prompts),
        **settings,
        "cfg_scale": cfg_scale,
        "seed": seed,
        "scale": reference.scale,
        "judge": clap.facts,
        "rows": rows,
    }
    if out is not None:
        write_text(out, json.dumps(table, indent=1) + "\n")
        write_text(Path(out).with_suffix(".md"), markdown(table))
    return table


COLUMNS = (
    ("FD CLAP", "fd_clap", "{:.2f}"),
    ("of a style", "fd_clap_share", "{:.0%}"),
    ("FD CREPE", "fd_crepe", "{:.3f}"),
    ("of a style", "fd_crepe_share", "{:.0%}"),
    ("KL", "kl", "{:.2f}"),
    ("CLAP score", "clap_score", "{:.2f}"),
    ("style right", "style_right", "{:.0%}"),
    ("unseen wording", "style_right_unseen", "{:.0%}"),
    ("tempo right", "tempo_right", "{:.0%}"),
    ("beat", "beat", "{:.2f}"),
    ("key clarity", "key_clarity", "{:.2f}"),
    ("level dB", "loudness_db", "{:.0f}"),
    ("silence", "silence_ratio", "{:.0%}"),
    ("NFE", "nfe", "{}"),
    ("TTFF s", "ttff", "{:.2f}"),
    ("RTF", "rtf", "{:.2f}"),
    ("copies", "copies", "{:.0%}"),
)


def markdown(table: dict) -> str:
    """The table of :func:`evaluate_text` as Markdown."""
    lines = [
        f"# {table['model']}: {table['clips']} clips of 11 s, {described(table)}, guidance "
        f"{table['cfg_scale']:g}",
        "",
        f"| | {' | '.join(head for head, _, _ in COLUMNS)} |",
        "|---" + "|---:" * len(COLUMNS) + "|",
    ]
    for name, row in table["rows"].items():
        cells = ["" if row.get(key) is None else form.format(row[key]) for _, key, form in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    made, judge = table["rows"][table["model"]], table["judge"]
    lines += [
        "",
        "FD: distance to real music of the train split; 'of a style': with the floor (row 'real') "
        "subtracted, as a share of "
        "the median distance of two real styles. Tempo: of prompts that name one, in styles with a beat "
        f"({made['tempo_asked']} of them). Level in dB below full scale. RTF is that of clips made 16 at "
        "a time, without the codec; of a "
        "live variant, of one stream with it.",
        "",
        f"- styles missing among the clips: {', '.join(made['styles_missing']) or 'none'}",
        f"- nearest stretch of the training set: {made['nearest']:.2f}, for real music of the test split "
        f"{made['nearest_real']:.2f}",
        f"- the judge finds the caption of a window among {judge['candidates']} pieces at first try in "
        f"{judge['recall_at_1']:.0%}, among "
        f"five in {judge['recall_at_5']:.0%}; style right in {judge['style_accuracy']:.0%} (test split)",
    ]
    return "\n".join(lines) + "\n"
