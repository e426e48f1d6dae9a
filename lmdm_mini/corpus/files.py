"""Files of a corpus, whole or not at all, made by several processes; a full disk ends with what to do.

Notebook: 01_sound_to_latents.
"""

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import soundfile
import torch
from tqdm import tqdm

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.corpus.piece import STEMS

SPARE_BYTES = 200 * 2**20  # a piece is begun only with this much room: a long one takes 60 MB


def check_room(folder: Path) -> None:
    """Raises OSError with what to do when the disk of `folder` is nearly full."""
    if shutil.disk_usage(folder).free < SPARE_BYTES:
        raise OSError(
            f"the disk of {folder} is full: make room (an hour of music takes 0.7 GB) and run the same "
            "command again; finished pieces are kept"
        )


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a part file and give it its name when it is whole; what failed leaves nothing behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        os.replace(part, path)
    except (OSError, RuntimeError):  # soundfile says RuntimeError when the disk is full
        part.unlink(missing_ok=True)
        check_room(path.parent)
        raise


def write_stems(path: Path, stems: torch.Tensor) -> None:
    """(4, 2, N) as one FLAC of eight 16-bit channels; whole or not at all."""
    channels = stems.reshape(2 * len(STEMS), -1).T.numpy()
    _replace(
        path,
        lambda part: soundfile.write(str(part), channels, SAMPLE_RATE, format="FLAC", subtype="PCM_16"),
    )


def write_json(path: Path, data) -> None:
    """`data` as a JSON file; whole or not at all."""
    text = json.dumps(data)
    _replace(path, lambda part: part.write_text(text))


def check_writable(folder: Path) -> None:
    """Makes the folder; ValueError with what to do when nothing can be written there."""
    try:
        (folder / "meta").mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise ValueError(
            f"cannot write into {folder} ({error.strerror}): choose another folder with --out"
        ) from error


def make_all(make: Callable, items: Iterable, *, workers: int, what: str) -> None:
    """Call `make` with every item, on `workers` processes, with a progress bar.

    The first error ends it: what is begun is finished, the rest is left for the next time.
    """
    items = list(items)
    with tqdm(total=len(items), unit="piece", desc=what) as bar:
        if workers == 1 or len(items) < 2:
            for item in items:
                make(item)
                bar.update()
            return
        pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
        try:
            for done in as_completed([pool.submit(make, item) for item in items]):
                done.result()
                bar.update()
        except BrokenProcessPool as error:
            raise OSError(
                "a process was ended from outside, most often for want of memory (a worker takes 1 GB): run "
                "the same command again with fewer --workers; finished pieces are kept"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
