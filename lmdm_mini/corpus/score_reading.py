"""From music21's files to plain `Score`s: voices, key, pickup, strains with their repeats played out.

Scores that are not plain four-part writing, change metre or have strains of odd lengths are left out.

Notebook: 01_sound_to_latents.
"""

import math
import re
from fractions import Fraction
from pathlib import Path

from tqdm import tqdm

from lmdm_mini.corpus.quartet_reading import read_quartets
from lmdm_mini.corpus.score import Event, Score

FOLDERS = {"bach": "bach", "ryan": "ryansMammoth", "oneill": "oneills1850"}


def read_collection(name: str) -> list[Score]:
    """Every usable score of one collection, in the order of its files. Raises ImportError without music21."""
    try:
        import music21
    except ImportError as error:
        raise ImportError("Reading scores needs music21: pip install 'lmdm-mini[corpus]'.") from error
    if name == "quartets":
        return read_quartets()
    folder = Path(music21.__file__).parent / "corpus" / FOLDERS[name]
    if name == "bach":
        files = sorted(p for p in folder.iterdir() if p.suffix in (".mxl", ".xml") and p.stem != "bwv846")
        titles = _hymn_titles(music21)
    else:
        files, titles = sorted(folder.glob("*.abc")), {}
    scores: dict[str, Score] = {}
    for path in tqdm(files, desc=f"reading {FOLDERS[name]}"):
        try:
            parsed = music21.converter.parse(path, forceSource=True)
        except (music21.exceptions21.Music21Exception, ValueError, IndexError, KeyError) as error:
            print(f"left out {path.name}: music21 cannot read it ({type(error).__name__})")
            continue
        for score in parsed.scores if isinstance(parsed, music21.stream.Opus) else [parsed]:
            if name == "bach":
                found = _chorale(score, path.stem, titles.get(path.stem, path.stem))
            else:
                number = str(score.metadata.number or "").strip() if score.metadata else ""
                tune_id = f"ryan/{path.stem}" if name == "ryan" else f"oneill/{number.zfill(4)}"
                found = _fiddle_tune(score, tune_id)
            if found is not None and found.tune_id not in scores:
                scores[found.tune_id] = found
    return list(scores.values())


def _hymn_titles(music21) -> dict[str, str]:
    """BWV file stem -> first line of the hymn, from the table of chorale editions in music21."""
    table = music21.corpus.chorales.ChoraleListRKBWV()
    return {f"bwv{row['bwv']}": row["title"] for row in table.byRiemenschneider.values()}


def _clean(number) -> float:
    """A music21 offset as a float that survives JSON: triplets rounded to 1/48 of a quarter note."""
    return float(Fraction(number).limit_denominator(48))


def _events(part) -> list[Event]:
    """Sounding notes of a part, ties joined, grace notes left out, the top note where several sound."""
    events = []
    for element in part.stripTies().flatten().notes:
        if element.quarterLength > 0 and element.pitches:
            top = max(pitch.midi for pitch in element.pitches)
            events.append((_clean(element.offset), _clean(element.quarterLength), int(top)))
    return events


def _shift(events: list[Event], by: float) -> list[Event]:
    return [(round(start + by, 6), duration, pitch) for start, duration, pitch in events]


def _chorale(score, stem: str, title: str) -> Score | None:
    """Four voices from a Bach score, or None when it is not plain four-part writing in one metre."""
    parts = list(score.parts)
    if len(parts) > 4:  # instruments double the choir: take the voices by their names
        named = [
            [p for p in parts if (p.partName or "").lower().startswith(word)]
            for word in ("sopran", "alto", "tenor", "bass")
        ]
        parts = [found[0] for found in named if found]
    signatures = {s.ratioString for s in score.recurse().getElementsByClass("TimeSignature")}
    if len(parts) != 4 or len(signatures) != 1:
        return None
    signature = signatures.pop()
    over, under = map(int, signature.split("/"))
    bar = over * 4 / under
    measures = list(parts[0].getElementsByClass("Measure"))
    if not measures:
        return None
    first = _clean(measures[0].highestTime)
    pickup = first if first < bar else 0.0
    shift = bar - pickup if pickup else 0.0
    voices = [_shift(_events(part), shift) for part in parts]
    if any(len(voice) < 12 for voice in voices):
        return None
    title = title if title != stem else f"Chorale {stem.replace('bwv', 'BWV ')}"
    ends = [
        n.offset + n.quarterLength
        for n in parts[0].flatten().notes
        if any("Fermata" in e.classes for e in n.expressions)
    ]
    root, mode = _chorale_key(score, voices)
    last = max(start + duration for voice in voices for start, duration, _ in voice)
    if len(ends) < 3 and last > 100:  # orchestral interludes between the lines: not a plain chorale
        return None
    return Score(
        f"bach/{stem}",
        title,
        signature,
        root,
        mode,
        math.ceil(last / bar - 1e-6) * bar,
        pickup,
        voices,
        phrase_ends=[round(_clean(end) + shift, 6) for end in ends],
        kind="chorale",
    )


def _chorale_key(score, voices: list[list[Event]]) -> tuple[int, str]:
    """Key from the last bass note against the signature, which knows modes and ignores a Picardy third."""
    signatures = list(score.recurse().getElementsByClass("KeySignature"))
    tonic = voices[3][-1][2] % 12
    major = (signatures[0].sharps * 7) % 12 if signatures else tonic
    modes = {0: "major", 9: "minor", 2: "dorian", 7: "mixolydian", 4: "phrygian"}
    degree = (tonic - major) % 12
    if degree in modes:
        return tonic, modes[degree]
    key = score.analyze("key")
    return key.tonic.pitchClass, key.mode


def _fiddle_tune(score, tune_id: str) -> Score | None:
    """The melody with its repeats played out, or None when the bars do not add up to whole strains."""
    signatures = {s.ratioString for s in score.recurse().getElementsByClass("TimeSignature")}
    keys = list(score.recurse().getElementsByClass("Key"))
    if len(score.parts) != 1 or len(signatures) != 1 or not keys:
        return None
    signature = signatures.pop()
    over, under = map(int, signature.split("/"))
    bar = over * 4 / under
    lead_in, strains = _strains(score.parts[0], bar)
    if not strains or sum(len(events) for _, events, _ in strains) < 24:
        return None
    pickup = lead_in[-1][0] + lead_in[-1][1] if lead_in else _first_pickup(score.parts[0], bar)
    position = bar - pickup if pickup else 0.0
    voice, sections = _shift(lead_in, position), []
    position += pickup if lead_in else 0.0
    for name, events, length in strains:
        sections.append((round(math.ceil(position / bar - 1e-6) * bar, 6), name))
        voice += _shift(events, position)
        position += length
    length = math.ceil(position / bar - 1e-6) * bar
    title = _tidy_title(score.metadata.title or tune_id)
    mode = keys[0].mode if keys[0].mode in ("major", "minor", "dorian", "mixolydian") else "major"
    return Score(
        tune_id,
        title,
        signature,
        keys[0].tonic.pitchClass,
        mode,
        length,
        pickup,
        [voice],
        sections,
        kind=_dance(title, tune_id, signature),
    )


def _tidy_title(title: str) -> str:
    """ "LEATHER THE WIG- JIG." -> "Leather the Wig - Jig"."""
    words = re.sub(r"\s*-+\s+|\s+-+\s*", " - ", title.replace('"', "").strip(" .-")).split()
    text = " ".join(words)
    if text.replace("'s", "").isupper():
        small = {"THE", "OF", "TO", "AND", "IN", "ON", "A", "MY", "FOR", "WITH", "AT"}
        text = " ".join(
            w.lower() if w.upper() in small and i else w.capitalize() for i, w in enumerate(words)
        )
    return text


def _first_pickup(part, bar: float) -> float:
    first = _clean(next(m.highestTime for m in part.getElementsByClass("Measure") if m.highestTime > 0))
    return first if first < bar - 1e-6 else 0.0


def _strains(part, bar: float) -> tuple[list[Event], list[tuple[str, list[Event], float]]]:
    """(lead-in before the first repeat sign, [(name, events, length), ...] as played; [] when irregular).

    A strain without repeat signs is played twice when it is at most eight bars long, as in a session.
    Every strain must be 4, 8 or 16 bars long, counted with its own pickup.
    """
    measures = [m for m in part.getElementsByClass("Measure") if m.highestTime > 0]
    ending = {
        id(m): str(b.number)
        for b in part.recurse().getElementsByClass("RepeatBracket")
        for m in b.getSpannedElements()
    }
    lead_in, groups, current = [], [], []
    for measure in measures:
        left, right = measure.leftBarline, measure.rightBarline
        if current and getattr(left, "direction", "") == "start":
            if not groups and len(current) == 1 and current[0].highestTime < bar:
                lead_in = _measure_events(current[0], 0.0)
            else:
                groups.append((current, False))
            current = []
        # a second ending follows the repeat sign but belongs to the strain before it
        if not current and groups and ending.get(id(measure), "").startswith("2"):
            current, _ = groups.pop()
        current.append(measure)
        ends = getattr(right, "direction", "") == "end"
        if right is not None and (ends or right.type in ("double", "final")):
            groups.append((current, ends))
            current = []
    if current:
        groups.append((current, False))
    result = []
    for index, (group, repeated) in enumerate(groups):
        for turn in ("1", "2"):
            played = [m for m in group if ending.get(id(m), turn).startswith(turn)]
            events, position = [], 0.0
            for measure in played:
                events += _measure_events(measure, position)
                position += _clean(measure.highestTime)
            bars = round(position / bar, 3)
            if bars not in (4, 8, 16) or not events:
                return [], []
            if turn == "2" and not repeated and bars > 8 and not any(id(m) in ending for m in group):
                break
            result.append((chr(ord("A") + min(index, 25)), _one_line(events), bars * bar))
    return lead_in, result


def _measure_events(measure, at: float) -> list[Event]:
    return [
        (round(at + _clean(n.offset), 6), _clean(n.quarterLength), int(max(p.midi for p in n.pitches)))
        for n in measure.flatten().notes
        if n.quarterLength > 0 and n.pitches
    ]


def _one_line(events: list[Event]) -> list[Event]:
    """Events in time order without overlaps; the strain keeps one line."""
    ordered = sorted(events)
    return [
        (s, min(d, ordered[i + 1][0] - s) if i + 1 < len(ordered) else d, p)
        for i, (s, d, p) in enumerate(ordered)
        if i + 1 == len(ordered) or ordered[i + 1][0] > s
    ]


def _dance(title: str, tune_id: str, signature: str) -> str:
    """Kind of dance from the name where it says so and the metre agrees, else from the metre."""
    by_metre = {"6/8": "jig", "12/8": "slide", "9/8": "slip jig", "3/8": "waltz", "3/4": "waltz"}
    number = int(re.sub(r"\D", "", tune_id) or 0) if tune_id.startswith("oneill/") else 0
    if 0 < number <= 625:
        return "air"  # O'Neill's book opens with airs and songs
    if signature in by_metre:
        return by_metre[signature]
    words = f"{title} {tune_id}".lower()
    for word in ("strathspey", "hornpipe", "clog", "reel", "march", "polka", "fling"):
        if re.search(rf"{word}s?\b", words):
            return word
    if number > 1550:
        return "hornpipe"
    return "reel"
