"""Training loops: one small object that steps, averages, logs and comes back after a stop.

A `Run` keeps a model, its optimiser, an exponential moving average (EMA) of its weights and a CSV of its
losses in one folder. Everything is saved every ten minutes as safetensors; the same command goes on from there.

Notebook: 02_rectified_flow.
"""

import csv
import math
import random
import time
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from lmdm_mini.codec import load_codec
from lmdm_mini.conditioning import Text, encode_text
from lmdm_mini.corpus.data import load_manifest, pieces
from lmdm_mini.corpus.latents import read_latents
from lmdm_mini.dit import DiT, DiTConfig, save_model
from lmdm_mini.flow import noised_sample


@lru_cache(maxsize=1)
def fast_dtype() -> torch.dtype:
    """bfloat16 where this processor multiplies it faster than float32, else float32: measured, once.

    Processors with bfloat16 units gain a factor of two; without them it is a hundred times slower.
    """
    def seconds(dtype: torch.dtype) -> float:
        a = torch.ones(256, 512, dtype=dtype)
        a @ a.T
        start = time.perf_counter()
        for _ in range(3):
            a @ a.T
        return time.perf_counter() - start

    return torch.bfloat16 if seconds(torch.bfloat16) < seconds(torch.float32) else torch.float32


def fast_autocast() -> torch.autocast:
    """Mixed precision where :func:`fast_dtype` says that it pays, else a context that does nothing."""
    return torch.autocast("cpu", torch.bfloat16, enabled=fast_dtype() == torch.bfloat16)


def cosine(step: int, steps: int, warmup: int, last: float) -> float:
    """Factor on the learning rate: linear warm-up, then half a cosine from 1 down to `last`."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * done))


class Run:
    """One training run in a folder, resumable: construct it, iterate `loop()`, call `update()` once a step.

    slow: parameters with this in their name learn at a tenth of the rate (None: none do).
    """

    def __init__(self, folder: Path, model: nn.Module, steps: int, lr: float, warmup: int = 200, last: float = 0.03,
                 ema: float = 0.998, clip: float = 1.0, save_minutes: float = 10.0, check_every: int = 200,
                 slow: str | None = None):
        self.folder, self.model, self.steps, self.lr = Path(folder), model, steps, lr
        self.warmup, self.last, self.ema, self.clip = warmup, last, ema, clip
        self.save_minutes, self.check_every = save_minutes, check_every
        # Adam moves every weight by about the learning rate, so a sum over many inputs moves by many times as much
        groups: dict[float, list] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                inputs = parameter.shape[1] if parameter.ndim == 2 else 1
                share = min(1.0, (256 / inputs) ** 0.5) * (0.1 if slow and slow in name else 1)
                groups.setdefault(share, []).append(parameter)
        self.optimizer = torch.optim.AdamW([{"params": some, "share": share} for share, some in groups.items()], lr=lr,
                                           betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        self.average = deepcopy(model).eval().requires_grad_(False)
        self.step, self.seconds = 0, 0.0
        self.recent: dict[str, float] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / "run.safetensors").is_file():
            self._resume()

    def _flat(self) -> dict[str, Tensor]:
        state = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        state |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for number, entry in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{number}.{k}": v for k, v in entry.items() if isinstance(v, Tensor)}
        return {k: v.detach().clone().contiguous() for k, v in state.items()}

    def save(self) -> None:
        part = self.folder / "run.part"
        save_file(self._flat() | {"step": torch.tensor([self.step, int(self.seconds)])}, str(part))
        part.replace(self.folder / "run.safetensors")

    def _resume(self) -> None:
        flat = load_file(str(self.folder / "run.safetensors"))
        self.step, self.seconds = int(flat["step"][0]), float(flat["step"][1])
        self.model.load_state_dict({k[6:]: v for k, v in flat.items() if k.startswith("model.")})
        self.average.load_state_dict({k[8:]: v for k, v in flat.items() if k.startswith("average.")})
        state: dict[int, dict] = {}
        for key, value in flat.items():
            if key.startswith("optimizer."):
                number, name = key.split(".")[1:]
                state.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})

    def loop(self):
        """Yields once a step until `steps` are done; shows a progress bar with the time left."""
        saved = last = time.monotonic()
        bar = tqdm(total=self.steps, initial=self.step, mininterval=5.0, desc=self.folder.name)
        while self.step < self.steps:
            yield self.step
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            bar.update()
            if now - saved > 60 * self.save_minutes or self.step == self.steps:
                self.save()
                saved = now
        bar.close()

    def update(self, parts: dict[str, Tensor], validate=None) -> None:
        """One optimiser step on the sum of `parts`, the average, and every `check_every` steps a row of the CSV."""
        loss = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(loss):
            raise RuntimeError(f"the loss is not finite at step {self.step}: {parts}. Lower --lr and start again.")
        self.optimizer.zero_grad(set_to_none=True)
        for group in self.optimizer.param_groups:
            group["lr"] = group["share"] * self.lr * cosine(self.step, self.steps, self.warmup, self.last)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.step += 1
        keep = min(self.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - keep)
            for old, new in zip(self.average.buffers(), self.model.buffers()):
                old.copy_(new)
        for name, value in parts.items():
            self.recent[name] = 0.98 * self.recent.get(name, value.item()) + 0.02 * value.item()
        if self.step % self.check_every == 0:
            self._log(validate() if validate else {})

    def _log(self, checks: dict[str, Tensor]) -> None:
        row = {"step": self.step, "minutes": round(self.seconds / 60, 2)}
        row |= {k: round(v, 5) for k, v in self.recent.items()} | {f"valid_{k}": round(v.item(), 5) for k, v in checks.items()}
        path = self.folder / "log.csv"
        fresh = not path.is_file()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        tqdm.write("  ".join(f"{k} {v:g}" for k, v in row.items()))

    def averaged(self) -> nn.Module:
        """The model with averaged weights, in evaluation mode."""
        return self.average


# -- the base model --------------------------------------------------------------------------------


class LatentSet:
    """Latents and captions of one split, in memory: random windows with the embedding of a random caption."""

    def __init__(self, corpus: Path, split: str, fingerprint: str, seed: int = 0):
        entries = pieces(load_manifest(corpus), split)
        if not entries:
            raise ValueError(f"{corpus} has no pieces in split {split!r}.")
        self.latents = [read_latents(entry, "mix", fingerprint) for entry in tqdm(entries, desc=f"reading {split}")]
        self.captions = [entry["captions"]["mix"] for entry in entries]
        self.rng = random.Random(seed)
        self.weights = [z.shape[-1] for z in self.latents]
        words = sorted({caption for some in self.captions for caption in some})
        self.texts: dict[str, Tensor] = {}
        for i in tqdm(range(0, len(words), 64), desc="reading captions"):
            text = encode_text(words[i : i + 64])
            self.texts |= {w: text.tokens[j, text.mask[j]].half() for j, w in enumerate(words[i : i + 64])}

    def batch(self, size: int, frames: int, empty: float = 0.1) -> tuple[Tensor, Text]:
        """Windows (size, 64, frames) and their text; a share `empty` of the items has none."""
        rows = self.rng.choices(range(len(self.latents)), self.weights, k=size)
        windows, texts = [], []
        for row in rows:
            z = self.latents[row]
            start = self.rng.randint(0, max(0, z.shape[-1] - frames))
            window = z[:, start : start + frames]
            windows.append(F.pad(window, (0, frames - window.shape[-1])))
            words = self.texts[self.rng.choice(self.captions[row])]
            texts.append(words[:0] if self.rng.random() < empty else words)
        longest = max(1, max(len(words) for words in texts))
        tokens = torch.stack([F.pad(words, (0, 0, 0, longest - len(words))) for words in texts]).float()
        mask = torch.tensor([[i < len(words) for i in range(longest)] for words in texts])
        return torch.stack(windows), Text(tokens, mask)


def known_frames(size: int, frames: int, rng: random.Random) -> Tensor:
    """Context masks (size, frames), 1 = known: half of the items none, most others a beginning, some both ends."""
    mask = torch.zeros(size, frames)
    for row in mask:
        draw = rng.random()
        if draw > 0.5:
            row[: rng.randint(1, frames * 4 // 5 + 1)] = 1
        if draw > 0.9:
            row[-rng.randint(1, frames // 5) :] = 1
    return mask


def flow_loss(model: DiT, x0: Tensor, text: Text, rng: random.Random) -> dict[str, Tensor]:
    """Mean squared error of the velocity on the frames that are not known; t is drawn logit-normal."""
    mask = known_frames(len(x0), x0.shape[-1], rng)
    t = torch.sigmoid(torch.randn(len(x0)))[:, None] * (1 - mask)  # (B, T): known frames are clean
    sample = noised_sample(x0, t)
    with fast_autocast():
        v = model(sample.x_t, t, text)
    error = (v - sample.v).square().mean(1) * (1 - mask)  # (B, T)
    return {"flow": error.sum() / (1 - mask).sum()}


def train_base(out: Path, corpus: Path, steps: int, batch: int = 16, frames: int = 240, lr: float = 1e-3, seed: int = 0) -> Path:
    """Trains the bidirectional base on the corpus' latents, or goes on where it stopped; returns its weights' path."""
    torch.manual_seed(seed)
    codec = load_codec()
    model = DiT(DiTConfig(window=frames))
    run = Run(out / "base", model, steps=steps, lr=lr, ema=0.999)
    data = LatentSet(corpus, "train", codec.fingerprint, seed + run.step)
    check = LatentSet(corpus, "valid", codec.fingerprint, 99).batch(64, frames)
    rng = random.Random(seed + run.step)

    def validate() -> dict[str, Tensor]:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(7)
            parts = [flow_loss(run.average, x0, Text(tokens, mask), random.Random(7))["flow"]
                     for x0, tokens, mask in zip(check[0].split(16), check[1].tokens.split(16), check[1].mask.split(16))]
        return {"flow": torch.stack(parts).mean()}

    for _ in run.loop():
        run.update(flow_loss(model, *data.batch(batch, frames), rng), validate)
    path = out / "bidirectional.safetensors"
    save_model(run.averaged(), path, "bidirectional", codec.fingerprint, steps=run.step, minutes=round(run.seconds / 60), seed=seed)
    return path
