"""Sound and spectrograms that stay small inside a notebook file (used from notebook 00 on).

`IPython.display.Audio` embeds uncompressed WAV: ten seconds of stereo are 2.4 MB of base64, and the sound is
gone from some web hosts. Here audio becomes MP3, which every browser plays, at about 16 kB a second.
"""

import base64
import html
import io
import math

import numpy as np
import soundfile
from IPython.display import HTML
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from lmdm_mini.audio import SAMPLE_RATE
from lmdm_mini.checks import real_number
from lmdm_mini.widgets.arguments import one_of, positive

PALETTE = {
    "context": "#4C72B0",
    "target": "#DD8452",
    "noise": "#8C8C8C",
    "real": "#55A868",
    "fake": "#C44E52",
}
LOWEST_HZ, HIGHEST_HZ = 40.0, 18_000.0
DECIBELS = (-90.0, -15.0)  # below: white; above: darkest. A full-scale sine is 0 dB.
_MAPS = {
    name: LinearSegmentedColormap.from_list(name, ["#ffffff", PALETTE[name], dark])
    for name, dark in [("context", "#12203a"), ("real", "#0f2e18")]
}


def as_stereo_array(audio):
    """Audio as a float32 numpy array (2, N), from numpy or torch, (2, N), (1, N), (N,) or (1, 2, N).

    Raises ValueError for any other shape, and for samples that are NaN or infinite.
    """
    if hasattr(audio, "detach"):
        audio = audio.detach().float().cpu().numpy()
    audio = np.asarray(audio)
    if audio.dtype.kind not in "fiu":
        raise ValueError(f"audio must be an array of samples, not {audio.dtype}")
    if audio.dtype.kind in "iu":
        raise ValueError(
            f"audio must be floating point in [-1, 1], not {audio.dtype}; see lmdm_mini.audio.to_stereo"
        )
    audio = audio.astype(np.float32, copy=False)
    if audio.ndim == 3 and audio.shape[0] == 1:
        audio = audio[0]
    if audio.ndim == 1:
        audio = audio[None]
    if audio.ndim != 2 or audio.shape[0] not in (1, 2):
        raise ValueError(f"audio must be (2, samples), got shape {tuple(audio.shape)}")
    if not np.isfinite(audio).all():
        raise ValueError("audio holds NaN or infinite samples")
    return np.broadcast_to(audio, (2, audio.shape[1]))


def mp3_data_uri(audio, kbit_per_second=112):
    """`data:audio/mpeg;base64,...` of (2, N) audio at 44.1 kHz, constant bit rate; peaks above 1 are
    clipped. kbit_per_second: 32 to 320."""
    audio, kbit_per_second = as_stereo_array(audio), positive(kbit_per_second, "kbit_per_second", 320)
    if audio.shape[1] == 0:
        raise ValueError("there is no sound to show: the audio has 0 samples")
    # soundfile counts from 0 (320 kbit/s, the largest) to 1 (32 kbit/s, the smallest)
    level = float(np.clip((320 - kbit_per_second) / (320 - 32), 0, 1))
    with io.BytesIO() as file:
        soundfile.write(
            file,
            np.clip(audio.T, -1, 1),
            SAMPLE_RATE,
            format="MP3",
            subtype="MPEG_LAYER_III",
            bitrate_mode="CONSTANT",
            compression_level=level,
        )
        return "data:audio/mpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def figure_tag(figure, alt):
    """An `<img>` of a matplotlib figure as WebP, about a fifth of the PNG's size."""
    with io.BytesIO() as file:
        figure.savefig(file, format="webp", dpi=110, pil_kwargs={"quality": 82})
        data = base64.b64encode(file.getvalue()).decode("ascii")
    return (
        f'<img alt="{html.escape(alt)}" style="width:100%;display:block" src="data:image/webp;base64,{data}">'
    )


def sound_card(audio, title=None, figure=None):
    """HTML text: a title, an `<audio>` element and, if given, a figure under it."""
    title = None if title is None else str(title)
    head = f'<div style="font-weight:600;margin:0 0 4px">{html.escape(title)}</div>' if title else ""
    label = html.escape(title or "audio")
    player = (
        f'<audio controls preload="metadata" aria-label="{label}" style="width:100%;height:36px" '
        f'src="{mp3_data_uri(audio)}"></audio>'
    )
    picture = figure_tag(figure, f"{title or 'audio'}: figure") if figure is not None else ""
    return f'<div style="max-width:760px;margin:4px 0 10px">{head}{player}{picture}</div>'


def listen(audio, title=None, seconds=None, *, picture=False):
    """Show audio (2, N) at 44.1 kHz as a compact player, `picture=True` with its spectrogram.

    `seconds` cuts it to its beginning. Returns an IPython HTML object of about 20 kB a second. Raises
    ValueError for what is no sound, or a length that is none.
    """
    audio = as_stereo_array(audio)
    if seconds is not None:
        audio = audio[:, : math.ceil(positive(seconds, "seconds") * SAMPLE_RATE)]
    figure = None
    if picture:
        figure = Figure(figsize=(7.6, 2.2), layout="constrained")
        spectrogram(audio, ax=figure.subplots())
    return HTML(sound_card(audio, title, figure))


def log_spectrogram(audio, rows=128, *, window=2048, hop=512):
    """Level in dB (rows, frames) on a logarithmic frequency axis from 40 Hz to 18 kHz; 0 dB = full-scale
    sine."""
    mono = np.pad(as_stereo_array(audio).mean(0), window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(mono, window)[::hop]
    hann = np.hanning(window).astype(np.float32)
    power = np.abs(np.fft.rfft(frames * hann, axis=1)) ** 2 / (hann.sum() / 2) ** 2  # (frames, bins)
    edges = np.geomspace(LOWEST_HZ, HIGHEST_HZ, rows + 1) * window / SAMPLE_RATE
    # the loudest bin of a row where rows are wider than bins, the interpolated one where they are narrower
    centres = np.sqrt(edges[1:] * edges[:-1])
    below = np.floor(centres).astype(int)
    share = centres - below
    levels = power[:, below] * (1 - share) + power[:, below + 1] * share
    for row in np.flatnonzero(np.diff(edges) > 1):
        first, last = int(np.ceil(edges[row])), int(np.floor(edges[row + 1]))
        levels[:, row] = power[:, first : last + 1].max(1)
    return 10 * np.log10(levels.T + 1e-12)


def spectrogram(audio, ax=None, title=None, *, color="context", start=0.0):
    """Draw audio (2, N) at 44.1 kHz: seconds across, frequency (log) up, darker is louder. Returns the axes.

    `color` is "context" (blue) or "real" (green); `start` is the time in seconds of the first sample. Raises
    ValueError for another colour, or what is no sound.
    """
    color, start = one_of(color, "color", _MAPS), real_number(start, "start")
    if ax is not None and not hasattr(ax, "imshow"):
        raise ValueError(f"ax is of type {type(ax).__name__}; it must be the axes of a figure.")
    audio = as_stereo_array(audio)
    if audio.shape[1] == 0:
        raise ValueError("there is nothing to draw: the audio has 0 samples")
    if ax is None:
        from matplotlib import pyplot  # only here: a notebook's own figure, made when none was given

        ax = pyplot.subplots(figsize=(8, 2.6), layout="constrained")[1]
    levels = log_spectrogram(audio)
    rows = levels.shape[0]
    stop = start + audio.shape[1] / SAMPLE_RATE
    image = ax.imshow(
        levels,
        origin="lower",
        aspect="auto",
        extent=(start, stop, 0, rows),
        cmap=_MAPS[color],
        vmin=DECIBELS[0],
        vmax=DECIBELS[1],
        interpolation="bilinear",
    )
    hertz = np.array([50, 100, 200, 500, 1000, 2000, 5000, 10_000])
    ax.set_yticks(np.log(hertz / LOWEST_HZ) / np.log(HIGHEST_HZ / LOWEST_HZ) * rows)
    ax.set_yticklabels([f"{h // 1000}k" if h >= 1000 else str(h) for h in hertz], fontsize=8)
    ax.set(xlabel="time (s)", ylabel="frequency (Hz)", title=title)
    ax.figure.colorbar(image, ax=ax, label="level (dB)", pad=0.01, fraction=0.04)
    return ax


def cost_figure(audio, costs):
    """Bars of `costs` (block seconds, seconds to make) over the spectrogram of audio (2, N), on one time
    axis."""
    figure = Figure(figsize=(7.6, 3.4), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.5])
    starts = np.cumsum([0.0] + [seconds for seconds, _ in costs])[:-1]
    heard = [
        (start, seconds, made) for start, (seconds, made) in zip(starts, costs, strict=True) if seconds > 0
    ]
    factors = [made / seconds for _, seconds, made in heard]
    top.bar(
        [start for start, _, _ in heard],
        factors,
        [0.96 * seconds for _, seconds, _ in heard],
        align="edge",
        color=[PALETTE["fake" if factor > 1 else "context"] for factor in factors],
    )
    top.axhline(1, color=PALETTE["noise"], linestyle="--", linewidth=1)
    top.text(0, 1, " real time", va="bottom", fontsize=8, color=PALETTE["noise"])
    top.set(ylabel="block RTF", ylim=(0, max([1.3] + [1.1 * factor for factor in factors])))
    top.spines[["top", "right"]].set_visible(False)
    spectrogram(audio, ax=bottom)
    bottom.set_xlim(0, audio.shape[1] / SAMPLE_RATE)
    return figure
