"""The taste of `funk`: kinds of bands with their harmony, grooves, basses and sounds; guitars, horns, forms.

Notebook: 01_sound_to_latents.
"""

from lmdm_mini.corpus.styles.patterns import COWBELL, HIGH_CONGA, SHAKER, TAMBOURINE

TITLE_WORDS = (
    ("Hot", "Greasy", "Tight", "Purple", "Rubber", "Double", "Sticky", "Loose", "Golden", "Backdoor", "Shoe"),
    ("Biscuit", "Pocket", "Strut", "Chicken", "Traffic", "Shuffle", "Gravy", "Sneakers", "Thing", "Boogie"),
)

# Two bars of sixteenths each: (kick, snare with ghosts, hat). "O" in a hat opens it.
FUNK_KINDS = {
    "vamp": {
        "bpm": (98, 116),
        "modes": ("mixolydian", "dorian"),
        "loops": {
            "mixolydian": ("I9", "I9 I9 I9 IV9", "I9 bVII9:2 IV9:2"),
            "dorian": ("i9", "i7 IV9", "i9 i9 i9 IV13", "i9:2 IV9:2"),
        },
        "bridges": {
            "mixolydian": ("IV9", "IV9 IV9 V9 V9", "bVII9 IV9"),
            "dorian": ("IV9", "iv9 bVII13", "bVImaj7 V7#9"),
        },
        "grooves": (
            (
                "x-x-------x--x--|x-x---x---x-----",
                "----X--o-o-oX--o|----X--o-o-oX-oo",
                "xxxxxxxxxxxxxxxx|xxxxxxxxxxxxxxOx",
            ),
            (
                "x-x-------xx----|--x---x---x--x--",
                "----X--o-o--X--x|----X--o-o--X---",
                "x-x-x-x-x-x-x-x-|x-x-x-x-x-xxx-O-",
            ),
            (
                "x--x--x---x---x-|x-x---x---xx----",
                "----X-oo-o--X-o-|-o--X-oo-o--Xo-o",
                "x-x-x-O-x-x-x-x-|x-x-x-O-x-x-x-x-",
            ),
        ),
        "bass": (
            "R-gR--8-R--57-8-|R-g---s-R-gb3-s-",
            "R--R---g--s-R-8g|R--R---g5-7-8-a-",
            "R-.-g-R-8--7--5-|R-.-g-R-b-3-5-a-",
            "R-R---5-7---8-s-|R-R-----s-R-g-a-",
            "RR-8--7-5--g-s-R|RR-8--7-5-3-b-s-",
        ),
        "sounds": ((33, "bass guitar"), (33, "bass guitar"), (34, "picked bass"), (36, "slap bass")),
    },
    "slap": {
        "bpm": (94, 112),
        "modes": ("dorian", "minor"),
        "loops": {
            "dorian": ("i7", "i9 i9 IV9 IV9", "i7 bVII9:2 IV9:2"),
            "minor": ("i9", "i9 i9 bVImaj7 v7", "i7 iv7"),
        },
        "bridges": {
            "dorian": ("bIIImaj9 IV9 i9 i9", "iv9 bVII13 bIIImaj9 V7#9"),
            "minor": ("iv9 bVII9 bIIImaj7 bVImaj7", "bVImaj7 bVII9 i9 i9"),
        },
        "grooves": (
            (
                "x--x----x-x-----|x--x--x---x--x--",
                "----X-------X--o|----X--o----X-oo",
                "x-xxx-xxx-xxx-xx|x-xxx-xxx-xxx-O-",
            ),
            (
                "x-----xx--x-----|x-----x---x--x--",
                "----X--o----X---|----X--o-o--X---",
                "x-x-x-x-x-x-x-x-|x-x-x-x-x-x-x-O-",
            ),
            (
                "x-xx------x-x---|x-x-----x-xx----",
                "----X----o--X--o|----X----o--X-o-",
                "xxxxxxxxxxxxxxxx|xxxxOxxxxxxxxxOx",
            ),
        ),
        "bass": (
            "R-g8--R-g8--s-R8|R-g8--R-g87-5-s-",
            "RgR8-gRg8--7--5-|RgR8-gRg8-5-s-a-",
            "R--8g-R8--s-R-8-|R--8g-R8-7-8-5b-",
            "R-8-g8R--8R-s-8-|R-8-g8R--8-7-5-a",
        ),
        "sounds": ((36, "slap bass"), (37, "slap bass"), (36, "slap bass")),
    },
    "synth": {
        "bpm": (90, 106),
        "modes": ("dorian", "minor"),
        "loops": {
            "dorian": ("i7", "i9 i9 i9 IV9", "i9:6 bVII9:2"),
            "minor": ("i7", "i9 bVImaj7:2 bVII9:2", "i9 i9 iv9 v7"),
        },
        "bridges": {"dorian": ("IV9 i9", "bIIImaj7 IV9"), "minor": ("iv9 iv9 bVII9 bVII9", "bVImaj7 bVII9")},
        "grooves": (
            (
                "x-------x-x-----|x-----x---x-----",
                "----X-------X---|----X-------X-o-",
                "x-x-x-x-x-x-x-x-|x-x-x-x-x-x-x-O-",
            ),
            (
                "x--x------x-----|x--x----x-x--x--",
                "----X-------X---|----X--o----X---",
                "x-xxx-xxx-xxx-xx|x-xxx-xxx-xxx-xx",
            ),
        ),
        "bass": (
            "R...--s.R-8-7-5-|R...--s.R-b-3-5-",
            "R..R--5.7-8-----|R..R--s.R-------",
            "R.....8-7.5.4.b.|R.....8-s.......",
            "R-R-8.7.--5.s.--|R-R-8.7.5.4.b.a.",
        ),
        "sounds": ((38, "synth bass"), (39, "synth bass"), (38, "synth bass"), (87, "synth bass")),
    },
    "disco": {
        "bpm": (108, 122),
        "modes": ("minor", "dorian", "major"),
        "loops": {
            "minor": ("i9 iv9 bVII9 bIIImaj9", "i9 bVII9 bVImaj7 v7", "i9 i9 iv9 iv9"),
            "dorian": ("i9 IV9", "i9 i9 IV9 v7"),
            "major": ("ii9 V13 Imaj9 vi9", "IVmaj7 iii7 ii7 Imaj7", "Imaj7 vi7 ii7 V9sus4"),
        },
        "bridges": {
            "minor": ("bVImaj7 bVII9 i9 i9", "iv9 v7 i9 i9"),
            "dorian": ("bIIImaj7 IV9 i9 i9", "iv9 bVII9 i9 i9"),
            "major": ("IVmaj9 V9sus4", "vi9 iii7 IVmaj7 V9sus4"),
        },
        "grooves": (
            (
                "x---x---x---x---|x---x---x---x---",
                "----X-------X---|----X-------X--o",
                "x-O-x-O-x-O-x-O-|x-O-x-O-x-O-x-O-",
            ),
            (
                "x---x---x---x-x-|x---x---x---x---",
                "----X--o----X---|----X--o-o--X-o-",
                "xxOxxxOxxxOxxxOx|xxOxxxOxxxOxxxOx",
            ),
        ),
        "bass": (
            "R-8-R-8-R-8-5-8-|R-8-R-8-R-7-5-a-",
            "R-R8-8R-R-R8-8a-|R-R8-8R-5-7-8-a-",
            "R--R8-R-s-R-8-5-|R--R8-R-s-R-5-a-",
        ),
        "sounds": ((33, "bass guitar"), (34, "picked bass"), (33, "bass guitar")),
    },
}
FUNK_GUITARS = (
    "--x---xox---x-x-",
    "xoo-x-oox-oox-o-",
    "--xo--x---xo--x-",
    "oxoXoxoXoxoXoxoX",
    "----x--x----x-xo",
    "--Xo-oX-o-Xo-oX-",
    "x--x--x---x-----",
)
FUNK_CLAVS = (
    "x-xo-ox--xo-x-ox",
    "x--xo-x-x--xo-xo",
    "-oxo-xo-oxo-x-xo",
    "x-oxx-ox-oxx-xo-",
    "xo--xox--ox-xo--",
)
FUNK_ORGANS = ("--------x.......", "x.......--x.x...", "--x.----x...--x.", "w", "x...............")
FUNK_HORNS = [
    "x-x---xx--x-----xx--x...--------",
    "--------x-xx--x.......----------",
    "x---x-x--x-x----x...x-x---------",
    "xx-x--x...------x-x---x.x...----",
    "----x-xx-x------x.....x-x---x-x-",
    "x.x---x-x-x-----x.x---x.......--",
]
FUNK_SOLOS = [
    "x.x-x.xxx.x.x-x.x...----x.x.x...",
    "--x-x-x.x...----x-xxx.x...x.----",
    "x...x-x.x.x-x...----x-x-xxx.x...",
    "xx-xx-x.....----x-x-x-xx-x......",
]
FUNK_FORMS = [
    [("intro", 4), ("A", 8), ("B", 4), ("A", 4)],
    [("intro", 2), ("A", 8), ("B", 4), ("break", 2), ("A", 4)],
    [("A", 8), ("B", 4), ("break", 4), ("A", 4)],
    [("intro", 4), ("A", 8), ("solo", 8), ("A", 4)],
    [("intro", 4), ("A", 8), ("B", 4), ("solo", 8)],
    [("break", 4), ("A", 8), ("B", 4), ("A", 8)],
    [("intro", 4), ("A", 8), ("break", 4), ("solo", 8), ("A", 4)],
    [("intro", 4), ("A", 8), ("B", 4), ("solo", 8), ("A", 8)],
    [("intro", 4), ("A", 4), ("B", 4), ("A", 4)],
    [("intro", 4), ("A", 8), ("B", 8), ("break", 4), ("A", 8)],
]
FUNK_EXTRAS = (  # (drum key, grid, sections it plays in)
    (),
    (COWBELL, "x---x---x---x---", ("B", "solo")),
    (TAMBOURINE, "----x-------x---", ("A", "B", "solo")),
    (HIGH_CONGA, "--x--ox---x--oxx", ("A", "solo", "break")),
    (TAMBOURINE, "oxxxoxxxoxxxoxxx", ("B", "solo")),
    (SHAKER, "xoxoxoxoxoxoxoxo", ("A", "B")),
)
FUNK_LONG_SOUNDS = ((16, "organ"), (17, "organ"), (18, "rock organ"), (48, "strings"))
FUNK_LONG_SYNTHS = ((50, "synth strings"), (90, "synth pad"), (62, "synth brass"))
FUNK_HORN_SOUNDS = (
    (61, "brass section"),
    (61, "brass section"),
    (56, "trumpet"),
    (66, "saxophone"),
    (62, "synth brass"),
)
FUNK_SOLO_SOUNDS = (
    (66, "saxophone"),
    (65, "saxophone"),
    (29, "overdriven guitar"),
    (16, "organ"),
    (27, "clean guitar"),
    (56, "trumpet"),
)
FUNK_SOLO_SYNTHS = ((81, "synth lead"), (80, "synth lead"), (29, "overdriven guitar"), (84, "synth lead"))
FUNK_MOODS = (
    "groovy",
    "tight",
    "energetic",
    "playful",
    "sassy",
    "dancing",
    "punchy",
    "cheeky",
    "confident",
    "sweaty",
)
