"""Real scores for the corpus: Bach's chorales, the fiddle tunes of Ryan's Mammoth and O'Neill's, quartets.

music21 ships them (extra `corpus`; `score_reading.py` reads them). Reading all takes minutes, so what the
arrangers need is kept as plain data in one JSON file a collection. `tune_group` finds scores that share
a melody, in any key and any harmony, so that a tune can never stand in two splits.

Notebook: 01_sound_to_latents.
"""

import json
import math
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import asdict
from itertools import combinations
from pathlib import Path

from lmdm_mini.corpus.score import Event, Score

COLLECTIONS = ("bach", "ryan", "oneill", "quartets")
CACHE_VERSION = 5  # raise it when the fields of Score or the way of reading change


def read_scores(cache_dir: str | Path, collections: tuple[str, ...] = COLLECTIONS) -> list[Score]:
    """All usable scores of the named collections, in a fixed order; read once, then from the cache.

    Raises ValueError for an unknown collection and ImportError when music21 is missing.
    """
    unknown = [name for name in collections if name not in COLLECTIONS]
    if unknown:
        raise ValueError(f"Unknown score collections {unknown}; choose from {', '.join(COLLECTIONS)}.")
    scores = []
    for name in collections:
        path = Path(cache_dir) / f"scores_{name}_v{CACHE_VERSION}.json"
        if path.is_file():
            rows = json.loads(path.read_text())
        else:
            from lmdm_mini.corpus.score_reading import read_collection  # only here is music21 needed

            rows = [asdict(score) for score in read_collection(name)]
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")  # a stopped run must not leave half a file under the real name
            part.write_text(json.dumps(rows))
            part.replace(path)
        scores += [_from_row(row) for row in rows]
    return scores


def _from_row(row: dict) -> Score:
    row["voices"] = [[tuple(event) for event in voice] for voice in row["voices"]]
    row["sections"] = [tuple(section) for section in row["sections"]]
    for name in ("loudness", "plucked"):
        row[name] = [[tuple(pair) for pair in voice] for voice in row.get(name, [])]
    return Score(**row)


# --- which scores are the same tune ----------------------------------------------------------------


def _pulse(score: Score) -> float:
    """Quarter notes of the felt pulse: a half bar of a reel in 2/2, a dotted quarter in a jig."""
    over, under = map(int, score.time_signature.split("/"))
    if under == 8 and over % 3 == 0:
        return 1.5
    return 4 / under if score.kind == "chorale" or under != 4 or over != 4 else 2.0


def _melody_once(score: Score) -> list[Event]:
    """The melody without its played-out repeats."""
    if not score.sections:
        return score.voices[0]
    bounds = [(start, name) for start, name in score.sections] + [(score.length, "")]
    kept, seen = [], set()
    for (start, name), (end, _) in zip(bounds, bounds[1:]):
        if name not in seen:
            kept += [e for e in score.voices[0] if start - score.pickup <= e[0] < end - score.pickup]
        seen.add(name)
    return kept


def fingerprint(score: Score) -> set[tuple]:
    """Shapes of the melody that outlive a new key, another harmony, other note values and passing notes.

    Two kinds of n-grams of semitone steps: between all notes in turn, and between the notes that sound on
    the pulse. Repeated pitches count once, so 3/4 and 4/4 versions of a hymn agree.
    """
    melody = _melody_once(score)
    pulse = _pulse(score)
    on_pulse = [p for s, d, p in melody if math.ceil(s / pulse - 1e-6) * pulse < s + d - 1e-6]
    grams = set()
    for name, pitches, size in (("all", [p for _, _, p in melody], 10), ("pulse", on_pulse, 7)):
        line = [p for i, p in enumerate(pitches) if i == 0 or p != pitches[i - 1]]
        steps = [b - a for a, b in zip(line, line[1:])]
        grams |= {(name, *steps[i : i + size]) for i in range(len(steps) - size + 1)}
    return grams


def _plain_title(title: str) -> str:
    """A title without accents, articles, punctuation and the kind of dance; "" when little is left."""
    text = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    text = re.sub(r"\(.*?\)|[^a-z ]", "", text)
    drop = {
        "the",
        "a",
        "reel",
        "jig",
        "hornpipe",
        "clog",
        "strathspey",
        "waltz",
        "march",
        "fling",
        "highland",
    }
    return (
        " ".join(word for word in text.split() if word not in drop)
        if not text.startswith("chorale bwv")
        else ""
    )


def tune_group(scores: list[Score]) -> dict[str, str]:
    """Tune id -> group id: scores of one group share a melody (in any key, harmony or notation) or a title.

    Splits must be made by group. Two scores are joined when they share a fifth of the shorter one's shapes
    on the pulse, or a tenth of its ten-step shapes, or their name; joins are transitive. The bounds were set
    on the chorales whose hymn is known and lean towards joining: a needless join costs nothing, a missed one
    leaks a tune. Movements of quartets are no tunes: their many shapes would join whatever runs up a scale,
    so only stretches of one movement are joined. The group id is the smallest tune id of the group.
    """
    parent = {score.tune_id: score.tune_id for score in scores}

    def find(tune_id: str) -> str:
        while parent[tune_id] != tune_id:
            parent[tune_id] = parent[parent[tune_id]]
            tune_id = parent[tune_id]
        return tune_id

    def join(a: str, b: str) -> None:
        low, high = sorted((find(a), find(b)))
        parent[high] = low

    prints = {score.tune_id: fingerprint(score) for score in scores if score.kind != "quartet"}
    for kind, share, at_least in (("pulse", 0.2, 5), ("all", 0.1, 6)):
        holders, size, common = defaultdict(list), Counter(), Counter()
        for tune_id, grams in prints.items():
            own = [gram for gram in grams if gram[0] == kind]
            size[tune_id] = len(own)
            for gram in own:
                holders[gram].append(tune_id)
        for ids in holders.values():
            common.update(combinations(sorted(ids), 2))
        for (a, b), count in common.items():
            if count >= min(at_least, size[a], size[b]) and count >= share * min(size[a], size[b]):
                join(a, b)
    works = defaultdict(list)
    for score in scores:
        works[score.tune_id.split("#")[0]].append(score.tune_id)
    for ids in works.values():  # stretches of one movement
        for other in ids[1:]:
            join(ids[0], other)
    names = defaultdict(list)
    for score in scores:
        if score.kind == "quartet":
            continue
        if len(_plain_title(score.title)) > 3:
            names[score.tune_id.split("/")[0] == "bach", _plain_title(score.title)].append(score.tune_id)
    for ids in names.values():
        for other in ids[1:]:
            join(ids[0], other)
    return {score.tune_id: find(score.tune_id) for score in scores}
