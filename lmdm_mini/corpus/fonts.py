"""Sound fonts: where their files are, what they can play, and which of them a piece gets.

All are free and come as Debian packages. A font either plays every General MIDI instrument, or is a drum kit.

Notebook: 01_sound_to_latents.
"""

import random
from dataclasses import dataclass
from pathlib import Path

# Where Linux distributions and Homebrew put sound fonts.
FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
)


@dataclass(frozen=True)
class Font:
    """A sound font. `kit_keys` are the drum keys it has; `kit_bank` is where its drums are."""

    files: tuple[str, ...]  # names the file goes by
    package: str  # of Debian
    melodic: bool = True
    kit_keys: range = range(35, 83)
    kit_bank: int = 128


FONTS = {
    "fluid": Font(("FluidR3_GM.sf2", "FluidR3_GM2-2.sf2", "fluid-soundfont-gm.sf2"), "fluid-soundfont-gm"),
    "musescore": Font(
        ("MuseScore_General_Full.sf3", "MuseScore_General.sf3", "MuseScore_General.sf2"),
        "musescore-general-soundfont",
    ),
    "csound": Font(("sf_GMbank.sf2",), "csound-soundfont"),
    "opl3": Font(("OPL-3_FM_128M.sf2",), "opl3-soundfont", kit_keys=range(35, 77)),
    "black_pearl": Font(
        ("Black_Pearl_4_LV2.sf2",), "avldrums.lv2-soundfont", False, kit_keys=range(36, 62), kit_bank=0
    ),
    "red_zeppelin": Font(
        ("Red_Zeppelin_4_LV2.sf2",), "avldrums.lv2-soundfont", False, kit_keys=range(36, 62), kit_bank=0
    ),
}


def find_soundfont(name: str) -> Path:
    """The file of sound font `name` (a key of FONTS).

    Raises ValueError for another name, FileNotFoundError (naming the package to install) if it is not there.
    """
    if name not in FONTS:
        raise ValueError(f"unknown sound font {name!r}: choose from {', '.join(FONTS)}")
    for folder in FOLDERS:
        for file in FONTS[name].files:
            if (path := Path(folder) / file).is_file():
                return path
    raise FileNotFoundError(
        f"the {name} sound font is not in {', '.join(FOLDERS)}: install it, on Debian or Ubuntu "
        f"with 'sudo apt install libfluidsynth3 {FONTS[name].package}'"
    )


def installed_soundfonts() -> list[str]:
    """Names of the sound fonts this machine has."""
    found = []
    for name in FONTS:
        try:
            find_soundfont(name)
        except FileNotFoundError:
            continue
        found.append(name)
    return found


def draw_fonts(
    rng: random.Random, melodic: dict[str, int], drums: dict[str, int], usable
) -> tuple[str, str, str, str]:
    """A font for drums, bass, chords and lead: one for most of a piece, now and then another for a stem.

    `melodic` and `drums` weigh the fonts of a style; fonts that are not in `usable` are left out. ValueError
    when none that plays melodies is left.
    """

    def draw(pool: dict[str, int]) -> str:
        names = [name for name in sorted(pool) if name in usable]
        return rng.choices(names, [pool[name] for name in names])[0]

    melodic = {name: melodic.get(name, 1) for name in usable if FONTS[name].melodic and melodic.get(name, 1)}
    if not melodic:
        raise ValueError("no sound font named that plays melodies: choose fluid, musescore or several")
    main = draw(melodic)
    kit = draw(drums) if any(name in usable for name in drums) else main
    bass, chords, lead = (draw(melodic) if rng.random() < 0.3 else main for _ in range(3))
    return kit, bass, chords, lead
