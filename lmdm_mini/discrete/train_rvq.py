"""Training of the codebooks: k-means first, then optimiser steps on frames of the corpus, with the quantiser
of `vector-quantize-pytorch`.

The encoder is frozen, so only the codebooks change. Each is trained on the remainder of those before it.

Notebook: 07_discrete_live_music_models. Source: Zeghidour et al. 2021, "SoundStream", section III-C (RVQ and
quantiser dropout).
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from vector_quantize_pytorch import ResidualVQ

from lmdm_mini.codec.codec import LATENT_CHANNELS, load_codec
from lmdm_mini.discrete.rvq import RVQ, RVQConfig, round_trip_error, save_rvq
from lmdm_mini.latents.packed import ENDING, LatentPiece, find_latents
from lmdm_mini.training.run import Run, Schedule, TrainSettings


class RVQLearner(nn.Module):
    """Codebooks in training; :meth:`rvq` returns the quantiser they make.

    dropout: quantiser dropout: in each step, only a random number of the first codebooks is trained. Where an
    encoder is trained, too, it makes few codes sound good. On frozen latents they sound good without it, and
    deep codebooks learn less with it.
    """

    def __init__(self, config: RVQConfig | None = None, dropout: bool = False):
        super().__init__()
        self.config = c = RVQ(config).config
        # a hardly used code is replaced by a frame of the batch; the threshold is in mean uses per step
        self.quantiser = ResidualVQ(
            dim=LATENT_CHANNELS,
            num_quantizers=c.n_q,
            codebook_size=c.codebook_size,
            kmeans_init=True,
            learnable_codebook=True,
            ema_update=False,
            decay=0.99,
            threshold_ema_dead_code=0.1,
            quantize_dropout=dropout,
        )

    def rvq(self) -> RVQ:
        """Returns the quantiser with the current codebooks, in evaluation mode."""
        made = RVQ(self.config)
        made.codebooks.copy_(self.quantiser.codebooks.detach())
        return made.eval()

    @torch.no_grad()
    def init_from(self, frames: Tensor) -> None:
        """Initialises the codebooks by k-means on frames (N, 64), one after another."""
        self.quantiser.train()(frames[None])

    def forward(self, frames: Tensor) -> Tensor:
        """Returns the training loss of each codebook on frames (N, 64), the mean square of its remainder:
        (n_q,)."""
        _, _, losses = self.quantiser(frames[None])
        return losses.flatten()


def all_frames(pieces: list[LatentPiece]) -> Tensor:
    """Every frame of the pieces but their endings, as models learn from them: (N, 64) in half precision."""
    return torch.cat(
        [piece.latents[:, : max(1, piece.latents.shape[-1] - ENDING)] for piece in pieces], 1
    ).T.contiguous()


def train_rvq(settings: TrainSettings, *, config: RVQConfig | None = None, dropout: bool = False) -> Path:
    """Trains the quantiser on the latents that models are trained on, or goes on where it stopped; prints its
    error on the valid split, returns its codebooks' path. settings.batch: latent frames a step. dropout: see
    :class:`RVQLearner`."""
    batch, seed, steps = settings.batch, settings.seed, settings.steps
    torch.manual_seed(seed)
    codec, learner = load_codec(), RVQLearner(config, dropout)
    config = learner.config
    about = {"codec": codec.fingerprint, "config": str(config), "batch": str(batch), "seed": str(seed)}
    about["dropout"] = str(dropout)
    every = max(1, min(50, steps // 10))
    plan = Schedule(steps, settings.lr, min(20, steps), ema=0.99, check_every=every)
    run = Run(settings.out / "rvq", learner, plan, about=about)
    torch.manual_seed(seed + run.step)
    frames = all_frames(find_latents(settings.corpus, "train", codec.fingerprint))
    valid = all_frames(find_latents(settings.corpus, "valid", codec.fingerprint))
    valid = valid[:: max(1, len(valid) // 8192)].float().T[None]  # (1, 64, n)

    def draw(count: int) -> Tensor:
        return frames[torch.randint(len(frames), (count,))].float()

    if run.step == 0:
        learner.init_from(draw(4 * batch))
        run.average.load_state_dict(learner.state_dict())

    def validate() -> dict[str, Tensor]:
        error = round_trip_error(run.average.rvq(), valid)
        return {f"error_{n}": error[n - 1] for n in (1, 2, 4, 8, 12) if n <= config.n_q}

    for _ in run.loop():
        run.update({"left_over": run.forward(draw(batch)).sum()}, validate)
    path = run.folder.with_suffix(".safetensors")
    rvq = run.average.rvq()
    error = round_trip_error(rvq, valid)
    save_rvq(
        rvq,
        path,
        codec.fingerprint,
        steps=run.step,
        minutes=round(run.seconds / 60),
        seed=seed,
        error=[round(float(e), 4) for e in error],
    )
    print("share of the variance that is lost, with 1 to all codes: " + " ".join(f"{e:.3f}" for e in error))
    return path
