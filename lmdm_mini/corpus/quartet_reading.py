"""String quartets of Haydn, Mozart and Beethoven from music21: every stretch in one metre is a `Score`.

Double stops keep all their notes, staccato notes are written short, dynamics and plucked stretches are kept.
Repeats are played once.

Notebook: 01_sound_to_latents.
"""

import math
from fractions import Fraction
from pathlib import Path

from tqdm import tqdm

from lmdm_mini.corpus.score import Event, Score

COMPOSERS = ("haydn", "mozart", "beethoven")
LEFT_OUT = ("k545", "opus74", "opus132", "opus133")  # a piano sonata, and files that take minutes to read
SHORTEST_RUN = 24  # bars in one metre
# Quarter notes a minute, as the movements are usually played.
USUAL = {
    "haydn-opus1no1-movement1": 165, "haydn-opus1no1-movement2": 132, "haydn-opus1no1-movement3": 50,
    "haydn-opus1no1-movement4": 126, "haydn-opus1no1-movement5": 138, "haydn-opus74no1-movement1": 132,
    "haydn-opus74no1-movement2": 50, "haydn-opus74no1-movement3": 150, "haydn-opus74no1-movement4": 138,
    "mozart-k155-movement1": 132, "mozart-k155-movement2": 66, "mozart-k155-movement3": 138,
    "mozart-k156-movement1": 116, "mozart-k156-movement2": 50, "mozart-k156-movement3": 126,
    "mozart-k156-movement4": 50, "mozart-k458-movement1": 153, "mozart-k458-movement2": 112,
    "mozart-k458-movement3": 46, "mozart-k458-movement4": 150, "mozart-k80-movement1": 60,
    "mozart-k80-movement2": 126, "mozart-k80-movement3": 126, "mozart-k80-movement4": 160,
    "beethoven-opus18no1-movement1": 150, "beethoven-opus18no1-movement2": 66,
    "beethoven-opus18no1-movement3": 210, "beethoven-opus18no1-movement4": 112,
    "beethoven-opus59no1-movement1": 132, "beethoven-opus59no1-movement2": 80,
    "beethoven-opus59no1-movement3": 44, "beethoven-opus59no1-movement4": 116,
    "beethoven-opus59no2-movement1": 126, "beethoven-opus59no2-movement2": 52,
    "beethoven-opus59no2-movement3": 170, "beethoven-opus59no2-movement4": 172,
    "beethoven-opus59no3-movement2": 58, "beethoven-opus59no3-movement3": 112,
    "beethoven-opus59no3-movement4": 160,
}  # fmt: skip
LOUD = {"pp": 0.3, "p": 0.42, "mp": 0.52, "mf": 0.62, "f": 0.78, "ff": 0.92, "sf": 0.8, "sfz": 0.8, "fp": 0.5}


def read_quartets() -> list[Score]:
    """Every stretch of at least 24 bars in one metre, in the order of the files. Raises ImportError without
    music21. All scores of one file have a tune id that begins alike: "quartet/haydn-opus1no1-movement1#0"."""
    import music21

    corpus = Path(music21.__file__).parent / "corpus"
    files = [path for name in COMPOSERS for path in sorted((corpus / name).rglob("*.mxl"))]
    works = {path: path.relative_to(corpus).with_suffix("").parts for path in files}
    scores = []
    for path in tqdm([p for p in files if not set(works[p]) & set(LEFT_OUT)], desc="reading quartets"):
        work = "-".join(works[path])
        parts = list(music21.converter.parse(path, forceSource=True).parts)
        if len(parts) == 4:
            scores += _runs(parts, work)
    return scores


def _clean(number) -> float:
    """A music21 offset as a float that survives JSON: triplets rounded to 1/48 of a quarter note."""
    return float(Fraction(number).limit_denominator(48))


def _runs(parts, work: str) -> list[Score]:
    measures = [list(part.getElementsByClass("Measure")) for part in parts]
    count = min(len(some) for some in measures)
    bounds, signature = [], None
    for i in range(count):
        found = measures[0][i].timeSignature
        if found is not None and found.ratioString != signature:
            bounds.append((i, found.ratioString))
            signature = found.ratioString
    voices = [_events(part) for part in parts]
    marks = [_loudness(part) for part in parts]
    plucked = [_plucked(part) for part in parts]
    keys = [
        (_clean(key.getOffsetInHierarchy(parts[0])), key.sharps)
        for key in parts[0].recurse().getElementsByClass("KeySignature")
    ]
    scores = []
    for number, (first, signature) in enumerate(bounds):
        last = bounds[number + 1][0] if number + 1 < len(bounds) else count
        over, under = map(int, signature.split("/"))
        bar = over * 4 / under
        start = _clean(measures[0][first].offset)
        end = _clean(measures[0][last].offset if last < len(measures[0]) else parts[0].highestTime)
        length = math.floor((end - start) / bar + 1e-6) * bar
        if length < SHORTEST_RUN * bar:
            continue
        pickup = _clean(measures[0][first].highestTime)
        pickup = pickup if pickup < bar - 1e-6 else 0.0
        by = (bar - pickup if pickup else 0.0) - start
        cut = [[(s + by, d, p) for s, d, p in v if start - 1e-6 <= s < start + length - 1e-6] for v in voices]
        if any(len(voice) < 40 for voice in cut):
            continue
        sharps = [s for at, s in keys if at <= start + 1e-6][-1:] or [0]
        until = min([at for at, _ in keys if at > start + 1e-6], default=math.inf) + by
        root, mode = _key([[e for e in voice if e[0] < until] for voice in cut], sharps[0])
        scores.append(
            Score(
                f"quartet/{work}#{number}",
                work.replace("-", " "),
                signature,
                root,
                mode,
                length + (bar if pickup else 0.0),
                pickup,
                cut,
                kind="quartet",
                bpm=float(USUAL.get(work, 0)) or _tempo(cut, length),
                loudness=[[(at + by, level) for at, level in some] for some in marks],
                plucked=[[(a + by, b + by) for a, b in some] for some in plucked],
            )
        )
    return scores


def _events(part) -> list[Event]:
    events = []
    for element in part.stripTies().flatten().notes:
        duration = _clean(element.quarterLength)
        if duration <= 0 or not element.pitches:
            continue
        short = any("Staccato" in type(mark).__name__ for mark in element.articulations)
        for pitch in element.pitches:
            events.append((_clean(element.offset), duration * (0.5 if short else 1.0), int(pitch.midi)))
    return events


def _loudness(part) -> list[tuple[float, float]]:
    """[(start, 0..1)] of the dynamic marks; mezzoforte before the first."""
    marks = [(0.0, 0.6)]
    for mark in part.flatten().getElementsByClass("Dynamic"):
        if mark.value in LOUD:
            marks.append((_clean(mark.offset), LOUD[mark.value]))
    return marks


def _plucked(part) -> list[tuple[float, float]]:
    """[(start, end)] between "pizz." and "arco"."""
    found, begin = [], None
    for words in part.flatten().getElementsByClass("TextExpression"):
        text = (words.content or "").lower()
        if text.startswith("pizz") and begin is None:
            begin = _clean(words.offset)
        elif text.startswith(("arco", "coll'arco")) and begin is not None:
            found.append((begin, _clean(words.offset)))
            begin = None
    return found


def _key(voices: list[list[Event]], sharps: int) -> tuple[int, str]:
    """The major key of the signature or its relative minor: whose tonic triad sounds longer."""
    major = sharps * 7 % 12
    weight = [0.0] * 12
    for voice in voices:
        for _, duration, pitch in voice:
            weight[pitch % 12] += duration
    minor = (major + 9) % 12
    in_major = weight[major] + weight[(major + 7) % 12]
    in_minor = weight[minor] + weight[(minor + 7) % 12] * 0.5 + 2.5 * weight[(minor + 11) % 12]
    return (minor, "minor") if in_minor > in_major else (major, "major")


def _tempo(voices: list[list[Event]], length: float) -> float:
    """A guess where the usual tempo is not known: about five attacks a second."""
    attacks = len({start for voice in voices for start, _, _ in voice})
    return float(min(152, max(48, round(5.0 * 60 * length / attacks))))
