"""A judge of our own: a small CLAP (contrastive language-audio pretraining), trained on the styles of this
corpus.

Two towers, one for sound (log-mel frames through convolutions) and one for sentences (on the frozen sentence
encoder), are trained to bring a window of music near its caption and away from other captions. The sound's
embedding serves the Fréchet distance, its cosine to a prompt is the CLAP score, and a small head on it is the
tagger of styles. It is trained on the train split only. The paper uses large public models for the same three
numbers.

Notebook: 02_rectified_flow. Paper: section 4 (metrics).
"""

import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from torch import Tensor, nn
from tqdm.auto import tqdm

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.checkpoints import explained, read, write
from lmdm_mini.conditioning.text import TEXT_CHANNELS, embed_sentences
from lmdm_mini.corpus.data import load_manifest, pieces, read_piece
from lmdm_mini.training.run import Run, Schedule, TrainSettings

# the styles of files that do not name theirs: judges of the first corpus
FIRST_STYLES = ("ambient", "chiptune", "chorale", "folk", "funk", "house", "jazz", "lofi")
EMBEDDING = 128
MELS, MEL_FFT, MEL_HOP = 64, 2048, 1024  # 43 frames a second
WINDOW = 478  # mel frames of one latent window, 11.1 s
FILTERS = AF.melscale_fbanks(
    MEL_FFT // 2 + 1, 30.0, 16000.0, MELS, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
)


def log_mel(audio: Tensor) -> Tensor:
    """Audio (..., 2, N) at 44.1 kHz -> log-mel frames of mid (..., MELS, F), about -1 to 1."""
    mid = audio.mean(-2)
    spectrum = torch.stft(
        mid.reshape(-1, mid.shape[-1]),
        MEL_FFT,
        MEL_HOP,
        window=torch.hann_window(MEL_FFT),
        center=False,
        return_complex=True,
    )
    power = torch.einsum("bkf,km->bmf", spectrum.abs().square(), FILTERS)
    return (torch.log(power + 1e-6) / 7).reshape(*mid.shape[:-1], MELS, -1)


class ConvBlock(nn.Module):
    """Convolution over time, then over channels, residual."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.GroupNorm(1, width)
        self.up, self.down = nn.Conv1d(width, 2 * width, 1), nn.Conv1d(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(self.conv(x)))))


class Clap(nn.Module):
    """Sound and sentences to one space of EMBEDDING dimensions, on the unit sphere. `styles`: those that it
    tells apart, in the order of their numbers."""

    def __init__(self, width: int = 192, styles: Sequence[str] = FIRST_STYLES):
        super().__init__()
        stages = [
            nn.Conv1d(MELS, width, 5, stride=2, padding=2),
            ConvBlock(width),
            ConvBlock(width),
            nn.Conv1d(width, width, 4, stride=4),
            ConvBlock(width),
            ConvBlock(width),
        ]
        self.frames = nn.Sequential(*stages)
        self.sound_head = nn.Linear(3 * width, EMBEDDING)
        self.words_head = nn.Sequential(nn.Linear(TEXT_CHANNELS, 256), nn.GELU(), nn.Linear(256, EMBEDDING))
        self.styles = tuple(styles)
        self.style_head = nn.Linear(EMBEDDING, len(self.styles))
        self.log_scale = nn.Parameter(torch.tensor(2.5))

    def sound(self, mel: Tensor) -> Tensor:
        """Log-mel frames (B, MELS, F) -> (B, EMBEDDING), not yet of unit length."""
        x = self.frames(mel)
        return self.sound_head(torch.cat([x.mean(-1), x.amax(-1), x.std(-1)], -1))

    def words(self, sentences: Tensor) -> Tensor:
        """Mean token embeddings of sentences (B, 384) -> (B, EMBEDDING) of unit length."""
        return F.normalize(self.words_head(F.normalize(sentences, dim=-1)), dim=-1)

    def forward(self, mel: Tensor, sentences: Tensor, style: Tensor) -> dict[str, Tensor]:
        """Losses of a batch of windows, one caption each, and their styles (B,)."""
        sound = self.sound(mel)
        likeness = self.log_scale.exp() * F.normalize(sound, dim=-1) @ self.words(sentences).T
        own = torch.arange(len(mel))
        both = (F.cross_entropy(likeness, own) + F.cross_entropy(likeness.T, own)) / 2
        return {"contrastive": both, "style": 0.5 * F.cross_entropy(self.style_head(sound), style)}


@torch.inference_mode()
def embed_audio(clap: Clap, audio: Tensor) -> Tensor:
    """Clips (B, 2, N) -> (B, EMBEDDING)."""
    return torch.cat([clap.sound(log_mel(some)) for some in audio.split(16)])


@torch.inference_mode()
def embed_prompts(clap: Clap, prompts: list[str]) -> Tensor:
    """Sentences -> (B, EMBEDDING) of unit length."""
    return clap.words(torch.stack([tokens[0] for tokens in embed_sentences(prompts)]))


# -- training ----------------------------------------------------------------------------------------


class MelSet:
    """The mixes of one split as log-mel frames in memory, and their captions embedded."""

    def __init__(self, corpus: Path, split: str, seed: int = 0, *, styles: Sequence[str]):
        self.styles = tuple(styles)
        self.rng, self.entries = (
            random.Random(seed),
            [entry for entry in pieces(load_manifest(corpus), split) if entry["style"] in styles],
        )
        if not self.entries:
            raise ValueError(
                f"{corpus} has no pieces in split {split!r}: run 'python -m lmdm_mini corpus build'."
            )
        with ThreadPoolExecutor(2) as pool:
            mels = pool.map(lambda entry: log_mel(read_piece(entry)["mix"]).half(), self.entries)
            self.mels = list(tqdm(mels, desc=f"hearing {split}", total=len(self.entries)))
        self.captions = [
            torch.stack([t[0] for t in embed_sentences(entry["captions"]["mix"])]) for entry in self.entries
        ]

    def batch(self, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Windows (size, MELS, WINDOW), captions (size, 384), styles (size,) and which piece each is of
        (size,)."""
        rows = self.rng.sample(
            range(len(self.mels)), k=min(size, len(self.mels))
        )  # no piece twice: both would be right
        windows = []
        for row in rows:
            start = self.rng.randint(0, self.mels[row].shape[-1] - WINDOW)
            windows.append(self.mels[row][:, start : start + WINDOW].float())
        captions = torch.stack([self.rng.choice(self.captions[row]) for row in rows])
        styles = torch.tensor([self.styles.index(self.entries[row]["style"]) for row in rows])
        return torch.stack(windows), captions, styles, torch.tensor(rows)


def augment(mel: Tensor) -> Tensor:
    """Windows as a codec or another mix might have left them: other levels, a tilt, a little noise."""
    gain, tilt = 0.15 * torch.randn(len(mel), 1, 1), 0.1 * torch.randn(len(mel), 1, 1)
    return (
        mel
        + gain
        + tilt * torch.linspace(-1, 1, MELS)[:, None]
        + 0.1 * torch.rand(len(mel), 1, 1) * torch.randn_like(mel)
    )


@torch.inference_mode()
def retrieval(clap: Clap, data: MelSet, rounds: int = 8) -> dict[str, float]:
    """How often a window finds its own caption among those of all pieces of the split (1 and 5 tries), and
    its style."""
    first = among5 = style = total = 0
    for _ in range(rounds):
        mel, captions, styles, _ = data.batch(len(data.entries))
        sound = clap.sound(mel)
        rank = (F.normalize(sound, dim=-1) @ clap.words(captions).T).argsort(1, descending=True)
        place = (rank == torch.arange(len(mel))[:, None]).int().argmax(1)
        first, among5, total = (
            first + int((place == 0).sum()),
            among5 + int((place < 5).sum()),
            total + len(mel),
        )
        style += int((clap.style_head(sound).argmax(1) == styles).sum())
    return {
        "recall_at_1": first / total,
        "recall_at_5": among5 / total,
        "style_accuracy": style / total,
        "candidates": len(data.entries),
    }


def train_clap(settings: TrainSettings) -> Path:
    """Trains the judge on the train split, or goes on where it stopped; prints its retrieval on test, returns
    its weights' path."""
    batch, seed, corpus = settings.batch, settings.seed, settings.corpus
    torch.manual_seed(seed)
    styles = sorted({entry["style"] for entry in pieces(load_manifest(corpus), "train")})
    clap, about = Clap(styles=styles), {"batch": str(batch), "seed": str(seed), "styles": json.dumps(styles)}
    run = Run(settings.out / "clap", clap, Schedule(settings.steps, settings.lr, ema=0.99), about=about)
    torch.manual_seed(seed + run.step)
    data, check = (
        MelSet(corpus, split, number, styles=styles)
        for split, number in (("train", seed + run.step), ("valid", 1))
    )
    fixed = [check.batch(len(check.entries)) for _ in range(4)]

    def validate() -> dict[str, Tensor]:
        with torch.no_grad():
            losses = [run.average(*item[:3]) for item in fixed]
        return {name: torch.stack([each[name] for each in losses]).mean() for name in losses[0]}

    for _ in run.loop():
        mel, captions, wanted, _ = data.batch(batch)
        run.update(run.forward(augment(mel), captions, wanted), validate)
    facts = retrieval(run.average, MelSet(corpus, "test", 2, styles=styles)) | {
        "steps": run.step,
        "minutes": round(run.seconds / 60),
        "seed": seed,
    }
    print("on the test split: " + ", ".join(f"{name} {value:.3g}" for name, value in facts.items()))
    path = settings.out / "clap.safetensors"
    state = {name: value.half() for name, value in run.average.state_dict().items()}
    write(path, state, "judge", facts=facts, styles=styles)
    return path


def load_clap(path=None) -> Clap:
    """The trained judge, in evaluation mode; None loads the shipped one. Its retrieval on the test split is
    in `.facts`.

    Raises FileNotFoundError or ValueError for a missing or damaged file, saying what to do.
    """
    path, tensors, about = read(path, "judge", "clap")
    with explained(path, "judge"):
        clap = Clap(styles=json.loads(about.get("styles", "null")) or FIRST_STYLES)
        clap.load_state_dict({name: value.float() for name, value in tensors.items()})
        clap.facts = json.loads(about["facts"])
    return clap.eval().requires_grad_(False)
