"""The taste of `jazz`: harmony of A and B parts, blues and turnarounds, comping, heads, leads, forms.

Notebook: 01_sound_to_latents.
"""

TITLE_WORDS = (
    ("Blue", "After", "Small", "Third", "Lazy", "Crooked", "Evening", "Soft", "Autumn", "Borrowed"),
    ("Hours", "Street", "Bossa", "Stroll", "Change", "Lantern", "Corner", "Moon", "Minor Matter", "Hat"),
)

# Eight bars an A or a B; blues choruses are twelve. Written as bars of the tune's metre: ":h" is half a bar.
JAZZ_A = {
    "major": (
        "Imaj7 vi7 ii7 V7 iii7 VI7b9 ii7 V7",
        "Imaj7 Imaj7 ii7 V7 iii7 VI7b9 ii7 V7",
        "Imaj7 IV7 iii7 VI7 ii9 V13 Imaj9 V7:h V7b9:h",
        "ii7 V7 Imaj7 IVmaj7 vii7 III7b9 vi7 vi7",
        "Imaj7 vii7:h III7b9:h vi7:h II7:h v7:h I7:h IVmaj7 iv7:h bVII7:h iii7:h VI7b9:h ii7:h V7:h",
        "Imaj9 bVII9 Imaj9 VI7b9 ii9 V13 Imaj9 ii7:h V7:h",
        "Imaj7 II7 II7 ii7 V7 V7b9 Imaj7 ii7:h V7:h",
        "Imaj7 #idim7 ii7 V7 iii7 biiidim7 ii7 V7",
        "IVmaj7 iv6 iii7 VI7b9 ii7 V7 Imaj9 Imaj9",
    ),
    "minor": (
        "i6 i6 iim7b5 V7b9 i6 i6 iim7b5 V7b9",
        "i7 iv7 bVII7 bIIImaj7 bVImaj7 iim7b5 V7b9 i6",
        "i9 i9 iv9 iv9 iim7b5 V7b9 i9 V7#9",
        "iv7 bVII7 bIIImaj7 bVImaj7 iim7b5 V7b9 i6 i6",
        "i7:h bVI7:h V7b9 i7:h bVI7:h V7b9 iv7 bVII9 bIIImaj7 V7#9",
    ),
    "dorian": (
        "i11 i9 i11 i9 i11 i9 i11 i9",
        "i9 IV13 i9 IV13 i9 IV13 i9 IV13",
        "i11 i9 bVImaj7 bVII9sus4 i11 i9 i11 i9",
    ),
}
JAZZ_B = {
    "major": (
        "III7 III7 VI7 VI7 II7 II7 V7 V7",
        "v7 I7 IVmaj7 IVmaj7 iv7 bVII9 iii7 V7",
        "IVmaj7 #ivdim7 Imaj7 VI7b9 II7 II7 ii7 V7b9",
        "vii7 III7b9 vi7 vi7 vi7 II7 ii7 V7",
        "v7 I7 v7 I7 IVmaj7 II7 ii7 V7",
        "iv7 bVII9 Imaj7 Imaj7 iii7 VI7b9 ii7 V7",
    ),
    "minor": (
        "iv7 bVII7 bIIImaj7 bIIImaj7 iim7b5 iim7b5 V7b9 V7b9",
        "v7 I7b9 iv7 iv7 iv7 bVII7 bIIImaj7 V7#9",
        "bVImaj7 V7 i7 i7 bVImaj7 bVImaj7 iim7b5 V7b9",
    ),
    "dorian": (
        "bii11 bii9 bii11 bii9 bii11 bii9 bii11 bii9",
        "IV9sus4 IV9sus4 bIIImaj7 bIIImaj7 bVImaj7 bVImaj7 V7#9 V7#9",
    ),
}
JAZZ_BLUES = {
    "major": (
        "I7 IV7 I7 I7 IV7 #ivdim7 I7 VI7b9 ii7 V7 I7:h VI7:h ii7:h V7:h",
        "I7 I7 I7 I7 IV9 IV9 I7 I7 V9 IV9 I7 V7",
        "Imaj7 vii7:h III7b9:h vi7:h II7:h v7:h I7:h IV7 iv7:h bVII7:h "
        "iii7 biii7:h bVI7:h ii7 V7 iii7:h VI7:h ii7:h V7:h",
        "I13 IV9 I13 v7:h I7b9:h IV9 IV9 I13 iii7:h VI7b9:h ii9 V13 I13 V7#9",
    ),
    "minor": (
        "i7 iv7 i7 i7 iv7 iv7 i7 i7 bVI7 V7#9 i7 V7b9",
        "i6 i6 i6 I7b9 iv7 iv7 i6 i6 iim7b5 V7b9 i6 V7b9",
    ),
}
JAZZ_TURN = {
    "major": ("iii7 VI7b9 ii7 V7", "Imaj7 vi7 ii7 V7", "iii7 biii7 ii7 bII7"),
    "minor": ("i6 bVI7 iim7b5 V7b9", "i7 iv7 iim7b5 V7b9"),
    "dorian": ("i9 IV13 i9 IV13", "i11 i9 i11 i9"),
}
JAZZ_KINDS = {  # bpm, metre, swing of eighths
    "swing": ((118, 178), 4),
    "up": ((184, 236), 4),
    "blues": ((96, 190), 4),
    "bossa": ((116, 152), 4),
    "ballad": ((58, 78), 4),
    "waltz": ((128, 184), 3),
}
JAZZ_COMPS = {  # sixteenths, two bars; the last stroke often comes before the bar it belongs to
    4: (
        "x...--x---------|----------x...--",
        "--x---------x.--|--------x.....x-",
        "x-----x...------|x-----x.........",
        "------x.........|--x.....------x-",
        "x...........--x-|----------x-----",
        "--x.--x.--------|----x-----x.----",
    ),
    3: ("x.....--x---|--x.......--", "----x...----|--x---x.....", "x...........|----x---x..."),
}
BOSSA_COMPS = (
    "x---x---x-----x-|--x---x-----x---",
    "x-----x-----x---|x-----x---x-----",
    "x--.x.----x.--x.|--x.--x.x...----",
)
JAZZ_HEADS = {
    4: [
        "x.x.x...x.x.----",
        "--x.x.x.x.....--",
        "x...--x.x.......",
        "x.....x.x.x.x...",
        "----x.x.x.x.x.x.",
        "x.x...x.--x.x...",
        "x.......--x.x.x.",
        "x...x...x.x.x...",
        "x.....x...------",
    ],
    3: ["x.......x...", "x...x...x...", "x.....x.x...", "x.x.x.x.x...", "x...........", "--x.x.x.x..."],
}
JAZZ_LEADS = (
    (0, "piano"),
    (0, "piano"),
    (0, "piano"),
    (11, "vibraphone"),
    (26, "jazz guitar"),
    (66, "saxophone"),
    (65, "saxophone"),
    (56, "trumpet"),
    (59, "muted trumpet"),
    (73, "flute"),
    (71, "clarinet"),
    (57, "trombone"),
    (64, "saxophone"),
)
JAZZ_REGISTERS = {  # program of the lead -> lowest and highest pitch
    0: (64, 88),
    11: (62, 86),
    26: (55, 79),
    64: (60, 81),
    65: (56, 79),
    66: (55, 76),
    56: (58, 79),
    59: (58, 79),
    73: (65, 88),
    71: (56, 82),
    57: (50, 70),
}
JAZZ_MOODS = {
    "ballad": ("tender", "intimate", "slow", "romantic", "wistful", "warm"),
    "bossa": ("breezy", "sunny", "gentle", "relaxed", "elegant", "warm"),
    "up": ("energetic", "virtuosic", "hot", "restless", "bright", "nimble"),
    "blues": ("bluesy", "earthy", "laid-back", "swinging", "smoky", "playful"),
}
SWING_MOODS = ("swinging", "smoky", "cool", "elegant", "late-night", "playful", "relaxed")
JAZZ_SEQUENCES = (
    "A",
    "A B",
    "A solo",
    "A B A",
    "A A B",
    "A solo A",
    "A A B A",
    "A A solo A",
    "A B solo A",
    "A A B A solo",
    "A A solo bridge A",
    "A A B A solo A",
    "A A B A solo bridge A",
    "A A B A solo solo bridge A",
    "A B A solo bridge fours A",
    "A A B A solo fours A",
)
BLUES_SEQUENCES = (
    "head",
    "head solo",
    "head head",
    "head solo head",
    "head head solo",
    "head head solo head",
    "head solo solo head",
)
