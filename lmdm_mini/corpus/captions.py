"""What a listener might type to get a piece: several captions for the mix and for each stem.

The words of a style are in `styles/words.py`; here they become captions: styles, tempos and moods each go by
several names, details are left out at random, and word order changes. `HELD_OUT_WORDING` names the styles in
words that no caption of the corpus uses: prompts for judging unseen wording.

Notebook: 01_sound_to_latents.
"""

import random

from lmdm_mini.corpus.piece import STEMS, Chord, Piece
from lmdm_mini.corpus.styles.words import PARAPHRASES, WORDS  # noqa: F401 - the words belong together

STYLE_WORDS = {style: words.names for style, words in WORDS.items()}
HELD_OUT_WORDING = {style: words.held_out for style, words in WORDS.items()}

PLAIN_STEM = {"drums": "{} part", "bass": "{} line", "chords": "{} accompaniment", "lead": "{} melody"}
NO_OTHERS = {
    "drums": ("drums only", "no melody", "solo drum track"),
    "bass": ("no drums", "bass alone", "solo bass"),
    "chords": ("no drums", "no melody", "accompaniment only"),
    "lead": ("no drums", "unaccompanied", "solo"),
}

TEMPO_WORDS = (
    (66, ("very slow", "at a very slow tempo")),
    (88, ("slow", "at a slow tempo", "unhurried")),
    (112, ("mid-tempo", "at a medium tempo", "moderate")),
    (138, ("upbeat", "at a lively tempo", "brisk")),
    (1000, ("fast", "at a fast tempo", "up-tempo")),
)


def instruments(piece: Piece, stem: str | None = None) -> list[str]:
    """Words for the instruments that play, most notes first within a stem; of all stems, lead first."""
    words = []
    for name in ("lead", "chords", "bass", "drums") if stem is None else (stem,):
        count = dict.fromkeys(piece.tracks.get(name, {}), 0)
        for note in piece.stems[name]:
            count[note.track] += 1
        for track in sorted((t for t in count if count[t]), key=lambda t: -count[t]):
            word = piece.tracks[name][track].instrument
            if word not in words:
                words.append(word)
    return words


def _joined(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


# Last words of phrases that take no article.
UNCOUNTABLE = (
    "music",
    "jazz",
    "funk",
    "chillhop",
    "lofi",
    "harmony",
    "ambient",
    "pads",
    "bap",
    "house",
    "Ireland",
    "chiptune",
    "backing",
    "rock",
    "reggae",
    "techno",
    "dub",
    "bass",
    "jungle",
    "breakbeat",
    "time",
    "strings",
)


def _article(phrase: str) -> str:
    if phrase.split()[-1] in UNCOUNTABLE:
        return phrase
    an = phrase[0].lower() in "aeiou" and not phrase.lower().startswith(("uni", "eu"))
    return ("an " if an or phrase.startswith(("8-", "8 ")) else "a ") + phrase


def _styles(piece: Piece) -> list[str]:
    """Names of the style that are true of this piece."""
    words = list(STYLE_WORDS[piece.style])
    if piece.style == "jazz" and len(instruments(piece)) > 3:
        words.remove("jazz trio")
    if piece.style == "quartet" and "string orchestra" in instruments(piece):
        words = [word for word in words if "quartet" not in word]
    if piece.style == "ambient" and piece.stems["drums"]:
        words.remove("beatless atmospheric music")
    return words


def _with_mood(mood: str, style: str) -> str:
    """ "mellow chillhop", but "mellow study beat" rather than "mellow mellow study beat"."""
    return style if mood.lower() in style.lower() else f"{mood} {style}"


def _tempo(piece: Piece, rng: random.Random) -> str:
    """The tempo as a number or as a word that can follow a comma."""
    bpm = round(piece.bpm)
    if rng.random() < 0.6:
        return rng.choice((f"{bpm} bpm", f"at {bpm} bpm", f"{bpm} BPM", f"tempo {bpm}"))
    return rng.choice(next(words for limit, words in TEMPO_WORDS if bpm < limit))


def _key(piece: Piece, rng: random.Random) -> str:
    name = f"{Chord.NAMES[piece.key_root % 12]} {piece.key_mode}"
    return rng.choice((f"in {name}", f"key of {name}", name))


def _mix_caption(piece: Piece, kind: int, rng: random.Random) -> str:
    style = rng.choice(_styles(piece))
    moods = rng.sample(list(piece.moods), len(piece.moods)) or list(WORDS[piece.style].moods)
    playing = instruments(piece)
    some = rng.sample(playing, min(len(playing), rng.randint(1, 3)))
    tempo, key = _tempo(piece, rng), _key(piece, rng)
    moods = [mood for mood in moods if mood not in tempo] or moods  # "slow" once is enough
    mood, other = moods[0], moods[-1]
    if kind == 0:  # a list of everything, as many prompts are
        return ", ".join([style, mood, *some, tempo, key][: rng.randint(4, 8)])
    if kind == 1:
        return f"{_article(_with_mood(mood, style))} with {_joined(some)}, {tempo}"
    if kind == 2:
        return f"{_with_mood(mood, style)} {rng.choice(WORDS[piece.style].uses)}"
    if kind == 3:
        return f"{_joined(playing[:4])}, {tempo}, {mood}"
    if kind == 4:
        return rng.choice((style, _with_mood(mood, style), f"{style}, {tempo}"))
    if kind == 5:
        return f"{style}{' ' if key.startswith('in') else ', '}{key}, featuring {_joined(some)}"
    if kind == 6:
        feel = f"{mood} and {other}" if other != mood else mood
        return f"something {feel}: {style} with {_joined(some)}"
    return f"{_joined(some)} playing {_article(style) if rng.random() < 0.5 else style}, {tempo}, {mood}"


def _stem_caption(piece: Piece, stem: str, kind: int, rng: random.Random) -> str:
    playing = instruments(piece, stem)
    sound = _joined(playing[:2])
    words = WORDS[piece.style].stems[stem] if kind < 2 else (PLAIN_STEM[stem],)
    steady = len(piece.stems[stem]) > 0.8 * piece.length
    if kind < 2 and stem == "bass" and piece.style == "jazz" and steady:
        words = ("walking {} line",)  # a note on nearly every beat
    phrase = rng.choice(words).format("drum" if sound == "drums" else sound)
    style, tempo = rng.choice(_styles(piece)), _tempo(piece, rng)
    if kind == 0:
        return f"{_article(phrase)}, {style}, {tempo}, {rng.choice(NO_OTHERS[stem])}"
    if kind == 1:
        mood = rng.choice(list(piece.moods) or list(WORDS[piece.style].moods))
        detail = tempo if stem == "drums" or rng.random() < 0.5 else _key(piece, rng)
        return f"{_with_mood(mood, phrase)}, {detail}"
    return f"only the {phrase} of {_article(style)}" if rng.random() < 0.5 else f"{phrase} alone, {style}"


def captions(piece: Piece, rng: random.Random) -> dict[str, list[str]]:
    """Captions of the mix (7 or 8) and of every stem that plays (3): {"mix": [...], "bass": [...], ...}.

    The same piece and state of `rng` give the same captions. ValueError for a style without words.
    """
    if piece.style not in WORDS:
        raise ValueError(f"no caption words for style {piece.style!r}: add them to styles/words.py")
    mix = list(dict.fromkeys(_mix_caption(piece, kind, rng) for kind in range(8)))
    found = {"mix": mix}
    for stem in STEMS:
        if piece.stems[stem]:
            found[stem] = list(dict.fromkeys(_stem_caption(piece, stem, kind, rng) for kind in range(3)))
    return found


def rest_captions(entry: dict, taken: tuple[str, ...], rng: random.Random) -> list[str]:
    """Captions of a piece without the stems `taken`, for a model that plays the rest: 3 that name the style
    and what is left, and the stem's own if one stem is left.

    entry: of the manifest.
    """
    style, left = rng.choice(STYLE_WORDS[entry["style"]]), entry["instruments"]
    names = [stem for stem in ("lead", "chords", "bass", "drums") if stem in left and stem not in taken]
    sounds = list(dict.fromkeys(word for stem in names for word in left[stem]))
    tempo = f"{round(entry['bpm'])} bpm"
    found = [f"{style} with {_joined(sounds)}", f"{_joined(sounds)}, {tempo}", f"{style}, {tempo}"]
    return found + (entry["captions"].get(names[0], []) if len(names) == 1 else [])
