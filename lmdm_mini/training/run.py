"""Training loops: one small object that steps, averages, logs and comes back after a stop.

A `Run` keeps a model, its optimisers, an exponential moving average (EMA) of its weights and a CSV of its
losses in one folder. Everything is saved every ten minutes as safetensors; the same command goes on from
there. Lightning's Fabric puts it on what is there: one processor, one graphics card, or many machines under
`torchrun`.

Notebook: 02_rectified_flow.
"""

import csv
import math
import os
import time
from copy import deepcopy
from pathlib import Path

import torch
from lightning.fabric import Fabric
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from lmdm_mini.training.muon import Muon

STACKED = {"qkv": 3, "key_value": 2, "gate_up": 2}  # layers whose matrix is several matrices


def cosine(step: int, steps: int, warmup: int, last: float) -> float:
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


class Run:
    """One training run in a folder, resumable: construct it, iterate `loop()`, call `update()` once a step.

    `average` is the model with averaged weights, in evaluation mode. `forward` is the model as Fabric wraps
    it (its device, and gradients shared between processes): train through it. slow: parameters with this in
    their name learn at a tenth of the rate (None: none do). matrices: those whose name begins with this, or
    with one of these, take Muon's steps (None: none do). fabric: None is this process alone, on the
    processor. about: what must be the same when a run goes on; kept with it.
    Raises ValueError if it is not.
    """

    def __init__(
        self,
        folder: Path,
        model: nn.Module,
        steps: int,
        lr: float,
        warmup: int = 200,
        last: float = 0.03,
        ema: float = 0.998,
        clip: float = 1.0,
        save_minutes: float = 10.0,
        check_every: int = 200,
        slow: str | None = None,
        matrices: str | tuple[str, ...] | None = None,
        fabric: Fabric | None = None,
        about: dict[str, str] | None = None,
    ):
        self.folder, self.model, self.steps, self.lr = Path(folder), model, steps, lr
        self.warmup, self.last, self.ema, self.clip = warmup, last, ema, clip
        self.save_minutes, self.check_every = save_minutes, check_every
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
        optimizers = [
            torch.optim.AdamW(
                [{"params": some, "share": share} for share, some in adam.items()],
                lr=lr,
                betas=(0.9, 0.98),
                weight_decay=0.01,
                fused=True,
            )
        ]
        if muon:
            optimizers.append(
                Muon([{"params": some, "parts": parts, "share": 1.0} for parts, some in muon.items()], lr=lr)
            )
        self.average = deepcopy(model).eval().requires_grad_(False)
        self.fabric = fabric or Fabric(accelerator="cpu", devices=1)
        self.forward, *self.optimizers = self.fabric.setup(model, *optimizers)
        self.average.to(self.fabric.device)
        self.step, self.seconds, self.about = 0, 0.0, about or {}
        self.recent: dict[str, float] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / "run.safetensors").is_file():
            self._resume()

    def _flat(self) -> dict[str, Tensor]:
        state = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        state |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for which, optimizer in enumerate(self.optimizers):
            for number, entry in optimizer.state_dict()["state"].items():
                state |= {
                    f"optimizer.{which}.{number}.{k}": v for k, v in entry.items() if isinstance(v, Tensor)
                }
        return {k: v.detach().clone().contiguous() for k, v in state.items()}

    def save(self) -> None:
        if self.fabric.global_rank > 0:
            return
        part = self.folder / "run.part"
        save_file(
            self._flat() | {"step": torch.tensor([self.step, int(self.seconds)])},
            str(part),
            metadata=self.about,
        )
        part.replace(self.folder / "run.safetensors")

    def _resume(self) -> None:
        path = self.folder / "run.safetensors"
        with safe_open(str(path), framework="pt") as file:
            before = file.metadata() or {}
        other = [name for name in self.about if before.get(name) != self.about[name]]
        if other:
            raise ValueError(
                f"{path} was begun with {other[0]} {before.get(other[0])}, now it is {self.about[other[0]]}: "
                f"delete {self.folder} to begin anew, or give another --out."
            )
        flat = load_file(str(path))
        if any(name.startswith("optimizer.") and name.count(".") != 3 for name in flat):
            raise ValueError(
                f"{path} is of an older version of this program: delete {self.folder} to begin anew."
            )
        self.step, self.seconds = int(flat["step"][0]), float(flat["step"][1])
        self.model.load_state_dict({k[6:]: v for k, v in flat.items() if k.startswith("model.")})
        self.average.load_state_dict({k[8:]: v for k, v in flat.items() if k.startswith("average.")})
        states: list[dict[int, dict]] = [{} for _ in self.optimizers]
        for key, value in flat.items():
            if key.startswith("optimizer."):
                which, number, name = key.split(".")[1:]
                states[int(which)].setdefault(int(number), {})[name] = value
        log = self.folder / "log.csv"
        if log.is_file():  # rows of steps that were lost
            head, *rows = log.read_text().splitlines()
            log.write_text(
                "\n".join([head, *(row for row in rows if int(row.split(",")[0]) <= self.step)]) + "\n"
            )
        for optimizer, state in zip(self.optimizers, states):
            optimizer.load_state_dict(
                {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
            )

    def loop(self):
        """Yields once a step until `steps` are done; shows a progress bar with the time left."""
        saved = last = time.monotonic()
        bar = tqdm(
            total=self.steps,
            initial=self.step,
            mininterval=5.0,
            desc=self.folder.name,
            disable=self.fabric.global_rank > 0,
        )
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
        """One optimiser step on the sum of `parts`, the average, and every `check_every` steps a row of the
        CSV."""
        loss = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(loss):
            raise ArithmeticError(
                f"the loss is not finite at step {self.step}: {parts}. Delete {self.folder} and start again with a lower --lr."
            )
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
            for group in optimizer.param_groups:
                group["lr"] = group["share"] * self.lr * cosine(self.step, self.steps, self.warmup, self.last)
        self.fabric.backward(loss)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        keep = min(self.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            # buffers, too: statistics of the weights as they are now would not fit the weights as they were
            # on average. Flags have no mean
            pairs = [
                [x for x in (*some.parameters(), *some.buffers()) if x.is_floating_point()]
                for some in (self.average, self.model)
            ]
            torch._foreach_lerp_(*pairs, 1 - keep)
        for name, value in parts.items():
            number = self.fabric.all_reduce(value.detach()).item()  # the mean over processes
            self.recent[name] = 0.98 * self.recent.get(name, number) + 0.02 * number
        if self.step % self.check_every == 0 and self.fabric.global_rank == 0:
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
