"""Other codecs, which every reader knows: Opus and MP3, through ffmpeg.

Notebook: 01_sound_to_latents draws them next to the codec.
"""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.evaluation.metrics import align
from lmdm_mini.lazy import loaded_once

OTHER_CODECS = {  # row name -> (encoder and its options, container)
    "Opus 16 kbit/s": (("libopus", "-b:a", "16k"), "opus"),
    "Opus 24 kbit/s": (("libopus", "-b:a", "24k"), "opus"),
    "Opus 32 kbit/s": (("libopus", "-b:a", "32k"), "opus"),
    "Opus 64 kbit/s": (("libopus", "-b:a", "64k"), "opus"),
    "MP3 128 kbit/s": (("libmp3lame", "-b:a", "128k"), "mp3"),
}
QUICK_CODECS = ("Opus 16 kbit/s", "Opus 24 kbit/s")  # the two that the bars are measured against


@loaded_once
def find_ffmpeg() -> str:
    """An ffmpeg that has Opus and MP3: of the system, or of the Python package imageio-ffmpeg.

    Raises FileNotFoundError, with what to install, if there is none.
    """
    candidates = [shutil.which("ffmpeg")]
    try:
        import imageio_ffmpeg

        candidates.append(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # not installed, or installed without a program for this system
        pass
    for path in filter(None, candidates):
        command = [path, "-hide_banner", "-encoders"]
        listing = subprocess.run(command, capture_output=True, text=True, check=False)
        if "libopus" in listing.stdout and "libmp3lame" in listing.stdout:
            return path
    raise FileNotFoundError(
        "no ffmpeg with libopus and libmp3lame found. Install one with `pip install imageio-ffmpeg` "
        "or your system's packages, or leave their rows out (--no-other-codecs)."
    )


def through_ffmpeg(audio: Tensor, name: str) -> tuple[Tensor, dict[str, float]]:
    """`audio` ``(2, N)`` through a codec of `OTHER_CODECS` and back, aligned in time, same length.

    Also returns ``{"kbps", "delay", "encode_seconds", "decode_seconds"}``: the bit rate that was really used
    and wall times, program start included.
    """
    (encoder, *options), container = OTHER_CODECS[name]
    ffmpeg = [find_ffmpeg(), "-hide_banner", "-loglevel", "error", "-y", "-threads", "1"]
    raw = ["-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "2"]
    with tempfile.TemporaryDirectory() as folder:
        source, coded, back = (
            f"{folder}/{file}" for file in ("source.f32", f"coded.{container}", "back.f32")
        )
        audio.T.contiguous().numpy().astype("<f4").tofile(source)
        start = time.perf_counter()
        subprocess.run([*ffmpeg, *raw, "-i", source, "-c:a", encoder, *options, coded], check=True)
        middle = time.perf_counter()
        subprocess.run([*ffmpeg, "-i", coded, *raw, back], check=True)
        end = time.perf_counter()
        kbps = Path(coded).stat().st_size * 8 / 1000 / (audio.shape[1] / SAMPLE_RATE)
        decoded = torch.from_numpy(np.fromfile(back, dtype="<f4").reshape(-1, 2).T.copy())
    decoded, delay = align(audio, decoded)
    times = {"encode_seconds": middle - start, "decode_seconds": end - middle}
    return decoded, {"kbps": kbps, "delay": delay, **times}
