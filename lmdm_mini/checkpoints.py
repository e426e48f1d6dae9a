"""Files of weights: where they are, how they are written, and one way to load them.

All files are safetensors: tensors, and a few strings about them, so loading somebody's file cannot run
somebody's program. Each says what it is (its *kind*) and which encoder its latents come from (a
*fingerprint*). A file is written beside its place and moved there when it is whole, so an interrupted program
leaves the old file or the new one, never a part.

The folder ``data`` is the one of the clone, or the one that a wheel brings along. The environment variable
``LMDM_MINI_DATA`` names another.

Notebook: 00_start_here (`list_models`).
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lmdm_mini.files import written_whole


class Saved(Protocol):
    """A model that has a file of its own: a module with a configuration, and what its file says about it."""

    config: Any  # a dataclass
    name: str
    codec_fingerprint: str  # of the encoder whose latents it was trained on
    facts: dict

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object: ...

    def eval(self) -> Self: ...

    def requires_grad_(self, requires_grad: bool) -> Self: ...


M = TypeVar("M", bound=Saved)

HERE = Path(__file__).resolve().parent
KINDS = {  # what a file can be, and what to call for it
    "model": "a model: load it with lmdm_mini.load()",
    "codec": "a codec: load it with lmdm_mini.load_codec()",
    "quantiser": "the quantiser of the discrete model: load it with lmdm_mini.discrete.load_rvq()",
    "judge": "a judge for evaluations: load it with lmdm_mini.evaluation.load_clap()",
    "reference": "what real music scores: load it with lmdm_mini.evaluation.load_reference()",
    "latents": "a set of latents: read it with lmdm_mini.latents.read_packed()",
    "run": "the state of an unfinished training: go on with the command that began it",
}


MAKE = {  # the command that makes one
    "codec": "train codec",
    "quantiser": "train rvq",
    "judge": "train clap",
    "reference": "evaluate reference",
}


def find_data() -> Path:
    """The folder with checkpoints, latents, clips and results."""
    if "LMDM_MINI_DATA" in os.environ:
        return Path(os.environ["LMDM_MINI_DATA"]).expanduser().resolve()
    inside = HERE / "data"  # of a wheel; in a clone it is beside the package
    return inside if inside.is_dir() else HERE.parent / "data"


DATA = find_data()
CHECKPOINTS, RESULTS, LATENTS = DATA / "checkpoints", DATA / "results", DATA / "latents"


def how_to_restore() -> str:
    """One sentence: how to get the shipped files back, as this copy was installed."""
    if "LMDM_MINI_DATA" in os.environ:
        return f"LMDM_MINI_DATA is {DATA}: it must name the project's folder data."
    if (HERE.parent / ".git").exists():
        return "Restore it with `git checkout -- data`."
    if DATA == HERE / "data":
        return "Install the package again: pip install --force-reinstall --no-deps and where it came from."
    return "Copy the folder data from a fresh download of the project, or set LMDM_MINI_DATA to one."


def cache_folder() -> Path:
    """Where things are kept between runs that can be made anew at any time: of this user, outside the
    project."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lmdm_mini"


# -- writing -------------------------------------------------------------------------------------------


def write(path, tensors: dict[str, Tensor], kind: str, **about) -> None:
    """Writes tensors as they are, with their kind and what `about` says, in JSON unless it is a string.
    Raises OSError."""
    strings = {name: value if isinstance(value, str) else json.dumps(value) for name, value in about.items()}
    with written_whole(path, (SafetensorError,)) as part:  # of a full disk: not an OSError there
        save_file(
            {name: x.detach().cpu().contiguous() for name, x in tensors.items()},
            str(part),
            {"kind": kind} | strings,
        )


def save_model(model: Saved, path, name: str, *, codec_fingerprint: str, **facts) -> None:
    """Writes a model's weights in half precision, with its configuration, the fingerprint of its encoder, and
    facts."""
    state = {key: value.half() for key, value in model.state_dict().items()}
    write(path, state, "model", name=name, config=asdict(model.config), codec=codec_fingerprint, facts=facts)


def fingerprint(parts: Iterable[str | Tensor], digits: int = 16) -> str:
    """Hexadecimal digits that change when one of the names or tensors does; tensors count in half
    precision."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode())
        else:
            # -0 and 0 are one number but two bit patterns
            same = part.detach().cpu().half().contiguous() + 0.0
            digest.update(same.numpy().tobytes())
    return digest.hexdigest()[:digits]


# -- reading -------------------------------------------------------------------------------------------


def kind_of(about: dict[str, str]) -> str:
    """What a file says it is; "" if it does not. Files of before say it by the names of their strings."""
    marks = {
        "model": "name",
        "codec": "fingerprint",
        "quantiser": "made_for",
        "reference": "prompts",
        "latents": "pieces",
    }
    if "kind" in about:
        return about["kind"]
    found = next((kind for kind, mark in marks.items() if mark in about), "")
    return found or ("judge" if "recall_at_1" in about.get("facts", "") else "")


@contextmanager
def explained(path, kind: str) -> Iterator[None]:
    """Turns what goes wrong while a file is understood into one ValueError that says what to do."""
    try:
        yield
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"{path} is damaged or not a {kind} of this version ({error}). {how_to_restore()}"
        ) from error


def read(path, kind: str, name: str | None = None) -> tuple[Path, dict[str, Tensor], dict]:
    """A file of this kind: its path, its tensors as they are stored, and what is said about them.

    path: None is the shipped file `name`.
    Raises FileNotFoundError for a file that is not there, ValueError for a damaged one or one of another
    kind.
    """
    path = Path(path) if path is not None else CHECKPOINTS / f"{name}.safetensors"
    if not path.is_file():
        there = "is a folder" if path.is_dir() else "is not there"
        make = f" `python -m lmdm_mini {MAKE[kind]}` makes one." if kind in MAKE else ""
        restore = f" {how_to_restore()}" if path.is_relative_to(DATA) else ""
        wanted = {"latents": "a set of latents"}.get(kind, f"a {kind}")
        raise FileNotFoundError(f"{path} {there}: {wanted} is expected.{restore}{make}")
    with explained(path, kind), safe_open(str(path), framework="pt") as file:
        about = file.metadata() or {}
        tensors = {key: file.get_tensor(key) for key in file.keys()}
    if (found := kind_of(about)) not in ("", kind):
        raise ValueError(f"{path} is not a {kind} but {KINDS.get(found, 'something else: ' + found)}.")
    return path, tensors, about


def check_codec(path, made_for: str, own: str) -> None:
    """Raises ValueError if a file was made for latents of another encoder than the one here."""
    if made_for != own:
        raise ValueError(
            f"{Path(path).name} was made for latents of encoder {made_for}, but the codec here is {own}: "
            "the same numbers "
            f"mean other sounds there. Take files that belong together. {how_to_restore()}"
        )


def load_model(name: str, path, make: Callable[[dict], M], *, codec) -> M:
    """A trained model by its name, in evaluation mode, with `codec` as `model.codec`.

    name: of a shipped file, and the variant (what stands before a "+") that the file must be of. make: gives
    an untrained model of a configuration. Raises FileNotFoundError or ValueError, saying what to do.
    """
    variant = name.split("+")[0]
    if path is None and not (CHECKPOINTS / f"{name}.safetensors").is_file():
        there = ", ".join(row["name"] for row in list_models())
        raise ValueError(
            f"there is no model {name!r}. There are: {there or 'none'}. "
            f"{'' if there else how_to_restore()}".strip()
        )
    path, tensors, about = read(path, "model", name)
    with explained(path, "model"):
        config = json.loads(about["config"])
        found = config.get("variant", variant)
    if found != variant:
        raise ValueError(f"{path} is a model of variant {found}, not {variant}: load it by that name.")
    with explained(path, "model"):
        model = make(config)
        model.load_state_dict({key: value.float() for key, value in tensors.items()})
        model.name, model.codec_fingerprint, model.facts = name, about["codec"], json.loads(about["facts"])
    check_codec(path, model.codec_fingerprint, codec.fingerprint)
    object.__setattr__(model, "codec", codec)  # not a submodule: its weights are not the model's
    return model.eval().requires_grad_(False)


def list_models() -> list[dict]:
    """The models that are there: name, parameters, megabytes and what was noted when they were trained."""
    rows = []
    for path in sorted(CHECKPOINTS.glob("*.safetensors")):
        try:
            with safe_open(str(path), framework="pt") as file:
                about = file.metadata() or {}
                parameters = sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())
        except SafetensorError:  # `load` says what is wrong with it
            continue
        if kind_of(about) == "model":
            row = {
                "name": path.stem,
                "parameters": parameters,
                "megabytes": round(path.stat().st_size / 1e6, 1),
            }
            rows.append(row | json.loads(about.get("facts", "{}")))
    return rows
