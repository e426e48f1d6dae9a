"""Training loops: one small object that steps, averages, logs and comes back after a stop.

A `Run` keeps a model, its optimisers, an exponential moving average (EMA) of its weights and a CSV of its
losses in one folder. Everything is saved every ten minutes, and when the program is interrupted or told to
end; the same command goes on from there. Lightning's Fabric puts it on what is there: one processor, one
graphics card, or many machines under `torchrun`.

Notebook: 02_rectified_flow.
"""

import csv
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from lmdm_mini.checkpoints import read, write
from lmdm_mini.training.muon import Muon

M = TypeVar("M", bound=nn.Module)
Tensors = list[Tensor] | tuple[Tensor, ...]
STACKED = {"qkv": 3, "key_value": 2, "gate_up": 2}  # layers whose matrix is several matrices


def cosine(step: int, steps: int, warmup: int, *, last: float) -> float:
    """Factor on the learning rate: linear warm-up, then half a cosine from 1 down to `last`."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * done))


def make_fabric(accelerator: str = "auto") -> Fabric:
    """Fabric for what this process was started with: alone, or as one of several by `torchrun` or `fabric
    run`.

    Its precision is full: it would round inputs, too, noise levels among them. The losses use
    :func:`fast_autocast`.
    """
    devices = os.environ.get("LOCAL_WORLD_SIZE", "auto")
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices if devices == "auto" else int(devices),
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", 1)),
        precision="32-true",
    )
    fabric.launch()
    return fabric


@dataclass
class TrainSettings:
    """What every training is told: where to write (`out`), which corpus to learn from, optimiser steps in
    all, items a step (however many processes share them), peak learning rate, seed, the device ("auto",
    "cpu", "cuda"), and whether torch.compile is used: it takes a few minutes at the start and saves a sixth
    of every step."""

    out: Path
    corpus: Path
    steps: int
    batch: int
    lr: float
    seed: int = 0
    accelerator: str = "auto"
    compiled: bool = True


@dataclass
class Schedule:
    """How a run goes: optimiser steps, peak learning rate, steps of warm-up, the share of the rate at the
    end, the decay of the averaged weights, the largest norm of a gradient, minutes between saves, and steps
    between rows of the log."""

    steps: int
    lr: float
    warmup: int = 200
    last: float = 0.03
    ema: float = 0.998
    clip: float = 1.0
    save_minutes: float = 10.0
    check_every: int = 200


class Interrupts:
    """Inside the block, Ctrl-C and SIGTERM only set `signal`, so that a step is finished and saved before the
    program ends. Outside of the main thread, where Python delivers no signals, it does nothing."""

    def __enter__(self) -> "Interrupts":
        self.signal, self.before = 0, {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, _) -> None:
        if self.signal:  # the second time: at once
            raise KeyboardInterrupt
        self.signal = number

    def __exit__(self, *_) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def ema_average(most: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """For `AveragedModel`: weights move towards the new ones by 1 - decay; the decay grows to `most` with the
    steps, so that the average is not held back by where training began."""

    @torch.no_grad()
    def update(average: Tensors, now: Tensors, steps: Tensor | int) -> None:
        if not average[0].is_floating_point():  # flags and counts have no mean
            torch._foreach_copy_(average, now)
            return
        keep = min(most, (1 + int(steps)) / (10 + int(steps)))
        torch._foreach_lerp_(average, now, 1 - keep)

    return update


def make_optimizers(
    model: nn.Module, lr: float, slow: str | None = None, *, matrices: str | tuple[str, ...] | None = None
) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the parameters that are matrices of a transformer; slow and matrices as
    :class:`Run`."""
    # Adam moves every weight by about the learning rate, so a sum over many inputs moves by many times as
    # much
    adam: dict[float, list] = {}
    muon: dict[int, list] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if matrices and name.startswith(matrices) and parameter.ndim == 2:
            muon.setdefault(STACKED.get(name.split(".")[-2], 1), []).append(parameter)
            continue
        inputs = parameter.shape[1] if parameter.ndim == 2 else 1
        share = min(1.0, (256 / inputs) ** 0.5) * (0.1 if slow and slow in name else 1)
        adam.setdefault(share, []).append(parameter)
    groups = [{"params": some, "share": share} for share, some in adam.items()]
    adam_w = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    optimizers: list[torch.optim.Optimizer] = [adam_w]
    if muon:
        groups = [{"params": some, "parts": parts, "share": 1.0} for parts, some in muon.items()]
        optimizers.append(Muon(groups, lr=lr))
    return optimizers


class Run(Generic[M]):
    """One training run in a folder, resumable: construct it, iterate `loop()`, call `update()` once a step.

    `average` is the model with averaged weights, in evaluation mode. `forward` is the model as Fabric wraps
    it (its device, and gradients shared between processes): train through it. slow: parameters with this in
    their name learn at a tenth of the rate (None: none do). matrices: those whose name begins with this, or
    with one of these, take Muon's steps (None: none do). fabric: None is this process alone, on the
    processor. about: what must be the same when a run goes on; kept with it. Raises ValueError if it is not.
    `after_save` is called whenever the run has been saved, for weights to judge on the way.
    """

    after_save: Callable[[], object] | None = None

    def __init__(
        self,
        folder: Path,
        model: M,
        schedule: Schedule,
        *,
        slow: str | None = None,
        matrices: str | tuple[str, ...] | None = None,
        fabric: Fabric | None = None,
        about: dict[str, str] | None = None,
    ):
        self.folder, self.model, self.schedule, self.steps = Path(folder), model, schedule, schedule.steps
        optimizers = self.make_optimizers(slow, matrices)
        self.averaged = AveragedModel(model, multi_avg_fn=ema_average(schedule.ema), use_buffers=True)
        self.average = cast(M, self.averaged.module.eval().requires_grad_(False))
        self.fabric = fabric or Fabric(accelerator="cpu", devices=1)
        self.forward, *self.optimizers = self.fabric.setup(model, *optimizers)
        self.averaged.to(self.fabric.device)
        self.step, self.seconds, self.about = 0, 0.0, about or {}
        self.recent: dict[str, float] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / "run.safetensors").is_file():
            self._resume()

    def make_optimizers(
        self, slow: str | None, matrices: str | tuple[str, ...] | None
    ) -> list[torch.optim.Optimizer]:
        """Returns the optimisers of the model; a run with others of its own defines this anew."""
        return make_optimizers(self.model, self.schedule.lr, slow, matrices=matrices)

    def _flat(self) -> dict[str, Tensor]:
        state = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        state |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for which, optimizer in enumerate(self.optimizers):
            for number, entry in optimizer.state_dict()["state"].items():
                kept = {k: v for k, v in entry.items() if isinstance(v, Tensor)}
                state |= {f"optimizer.{which}.{number}.{k}": v for k, v in kept.items()}
        return {k: v.detach().clone() for k, v in state.items()}

    def save(self) -> None:
        """Writes all that is needed to go on. Raises OSError if that is not possible; what was saved before
        stays."""
        if self.fabric.global_rank == 0:
            counts = [self.step, int(self.seconds), int(self.averaged.n_averaged)]
            state = self._flat() | {"step": torch.tensor(counts)}
            write(self.folder / "run.safetensors", state, "run", **self.about)
            if self.after_save is not None:
                self.after_save()

    def _resume(self) -> None:
        path, flat, before = read(self.folder / "run.safetensors", "run")
        other = [name for name in self.about if before.get(name) != self.about[name]]
        if other:
            raise ValueError(
                f"{path} was begun with {other[0]} {before.get(other[0])}, now it is {self.about[other[0]]}: "
                f"delete {self.folder} to begin anew, or give another --out."
            )
        if any(name.startswith("optimizer.") and name.count(".") != 3 for name in flat):
            raise ValueError(
                f"{path} is of an older version of this program: delete {self.folder} to begin anew."
            )
        self.step, self.seconds = int(flat["step"][0]), float(flat["step"][1])
        self.model.load_state_dict({k[6:]: v for k, v in flat.items() if k.startswith("model.")})
        self.average.load_state_dict({k[8:]: v for k, v in flat.items() if k.startswith("average.")})
        # files of before averaged in every step, and did not count it apart
        self.averaged.n_averaged.fill_(int(flat["step"][2]) if len(flat["step"]) > 2 else self.step)
        states: list[dict[int, dict]] = [{} for _ in self.optimizers]
        for key, value in flat.items():
            if key.startswith("optimizer."):
                which, number, name = key.split(".")[1:]
                states[int(which)].setdefault(int(number), {})[name] = value
        log = self.folder / "log.csv"
        if log.is_file():  # rows of steps that were lost
            head, *rows = log.read_text().splitlines()
            kept = [row for row in rows if int(row.split(",")[0]) <= self.step]
            log.write_text("\n".join([head, *kept]) + "\n")
        for optimizer, state in zip(self.optimizers, states):
            optimizer.load_state_dict(
                {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
            )

    def loop(self) -> Iterator[int]:
        """Yields once a step until all are done; shows a progress bar with the time left.

        Ctrl-C and SIGTERM save and then raise KeyboardInterrupt. A save that fails on the way is said, and
        tried again.
        """
        saved = last = time.monotonic()
        bar = tqdm(
            total=self.steps,
            initial=self.step,
            mininterval=5.0,
            desc=self.folder.name,
            disable=self.fabric.global_rank > 0,
        )
        with Interrupts() as interrupts, bar:
            while self.step < self.steps:
                yield self.step
                now = time.monotonic()
                self.seconds, last = self.seconds + now - last, now
                bar.update()
                if interrupts.signal:
                    self.save()
                    raise KeyboardInterrupt(
                        f"stopped and saved at step {self.step} of {self.steps}: the same command goes on "
                        "from there."
                    )
                if self.step == self.steps:
                    self.save()
                elif now - saved > 60 * self.schedule.save_minutes:
                    saved = now
                    try:
                        self.save()
                    except OSError as error:
                        tqdm.write(
                            f"not saved at step {self.step}: {error} Training goes on, and tries again later."
                        )

    def update(self, parts: dict[str, Tensor], validate=None) -> None:
        """One optimiser step on the sum of `parts`, the average, and every `check_every` steps a row of the
        CSV."""
        self.descend(parts, self.optimizers)
        self.step += 1
        self.averaged.update_parameters(self.model)
        self.note(parts)
        self.log_if_due(validate)

    def descend(self, parts: dict[str, Tensor], optimizers: list) -> Tensor:
        """Steps these optimisers on the sum of `parts`; returns the norm of their gradients before it was
        clipped. Raises ArithmeticError if the sum is not finite."""
        plan, loss = self.schedule, torch.stack(list(parts.values())).sum()
        if not torch.isfinite(loss):
            raise ArithmeticError(
                f"the loss is not finite at step {self.step}: {parts}. Delete {self.folder} and start "
                "again with a "
                "lower --lr."
            )
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = (
                    group["share"] * plan.lr * cosine(self.step, plan.steps, plan.warmup, last=plan.last)
                )
        self.fabric.backward(loss)
        learned = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(learned, plan.clip)
        for optimizer in optimizers:
            optimizer.step()
        return norm

    def note(self, values: dict[str, Tensor]) -> None:
        """Takes numbers into the running means that the log shows."""
        for name, value in values.items():
            number = self.fabric.all_reduce(value.detach()).item()  # the mean over processes
            before = self.recent.get(name, math.nan)
            self.recent[name] = number if math.isnan(before) else 0.98 * before + 0.02 * number

    def log_if_due(self, validate=None) -> None:
        """Writes a row of the CSV every `check_every` steps."""
        if self.step % self.schedule.check_every == 0 and self.fabric.global_rank == 0:
            self._log(validate() if validate else {})

    def _log(self, checks: dict[str, Tensor]) -> None:
        row = {"step": self.step, "minutes": round(self.seconds / 60, 2)}
        row |= {k: round(v, 5) for k, v in self.recent.items()} | {
            f"valid_{k}": round(v.item(), 5) for k, v in checks.items()
        }
        path = self.folder / "log.csv"
        fresh = not path.is_file()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        tqdm.write("  ".join(f"{k} {v:g}" for k, v in row.items()))
