"""Sound fonts: where their files are, what they can play, and which of them a piece gets.

All are free and come as Debian packages. A font plays every General MIDI instrument, or is a drum kit: in one
file, or as a folder of recorded one-shots (`sampler.py` plays those).

Notebook: 01_sound_to_latents.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

# Where Linux distributions and Homebrew put sound fonts.
FOLDERS = (
    "/usr/share/sounds/sf2",
    "/usr/share/sounds/sf3",
    "/usr/share/soundfonts",
    "/usr/local/share/soundfonts",
    "/opt/homebrew/share/soundfonts",
    "/usr/share/hydrogen/data/drumkits",
    "/usr/share/sonic-pi",
)


@dataclass(frozen=True)
class Font:
    """A sound font. `kit_keys` are the drum keys it has; `kit_bank` is where its drums are."""

    files: tuple[str, ...]  # names that the file, or the folder of one-shots, goes by
    package: str  # of Debian
    melodic: bool = True
    kit_keys: Collection[int] = range(35, 83)
    kit_bank: int = 128
    samples: dict[int, tuple[str, ...]] = field(default_factory=dict)  # drum key -> files, soft to hard


def _one_shots(folder: str, package: str, samples: dict[int, str]) -> Font:
    """A kit of one-shots; the files of a key are separated by spaces (a "~" stands for a space in a name)."""
    files = {key: tuple(name.replace("~", " ") for name in names.split()) for key, names in samples.items()}
    return Font((folder,), package, False, kit_keys=frozenset(files), samples=files)


def _sonic_pi(samples: dict[int, str]) -> Font:
    files = {key: " ".join(f"{name}.flac" for name in names.split()) for key, names in samples.items()}
    return _one_shots("samples", "sonic-pi-samples", files)


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
    "club": _sonic_pi(
        {
            36: "bd_haus", 38: "sn_dub", 40: "sn_zome", 39: "perc_snap", 37: "elec_tick",
            42: "drum_cymbal_closed", 44: "drum_cymbal_pedal", 46: "drum_cymbal_open", 49: "drum_splash_hard",
            51: "elec_cymbal", 56: "drum_cowbell", 54: "elec_triangle", 75: "elec_wood", 63: "elec_twip",
            45: "elec_fuzz_tom", 82: "elec_pop",
        }
    ),
    "tekno": _sonic_pi(
        {
            36: "bd_tek", 38: "elec_lo_snare", 40: "elec_mid_snare", 39: "perc_snap2", 37: "elec_tick",
            42: "elec_tick", 44: "drum_cymbal_pedal", 46: "drum_cymbal_soft", 49: "drum_splash_soft",
            51: "elec_cymbal", 56: "elec_ping", 54: "elec_blip", 75: "elec_plip", 63: "elec_bong",
            64: "elec_hollow_kick", 45: "elec_fuzz_tom", 82: "elec_pop",
        }
    ),
    "studio": _sonic_pi(
        {
            36: "drum_bass_soft drum_bass_hard", 38: "drum_snare_soft drum_snare_hard",
            40: "drum_snare_soft drum_snare_hard", 42: "drum_cymbal_closed", 44: "drum_cymbal_pedal",
            46: "drum_cymbal_open", 49: "drum_splash_soft drum_cymbal_hard", 51: "drum_cymbal_soft",
            55: "drum_splash_hard", 50: "drum_tom_hi_soft drum_tom_hi_hard",
            47: "drum_tom_mid_soft drum_tom_mid_hard", 45: "drum_tom_mid_soft drum_tom_mid_hard",
            43: "drum_tom_lo_soft drum_tom_lo_hard", 56: "drum_cowbell",
        }
    ),
    "hard_electro": _one_shots(
        "HardElectro1",
        "hydrogen-drumkits",
        {
            36: "HardHse_K_02.flac", 35: "PowR_BD_1.flac", 38: "PowR_SN_1.flac", 40: "PowR_SN_1.flac",
            39: "Clap_1.flac", 42: "Hard_CHH_01.flac", 44: "CHH_1.flac", 46: "Hard_Hse_OHH_1.flac",
            51: "PowR_HH_1.flac", 75: "yFX_8.flac", 63: "yFX_3.flac",
        },
    ),
    "varibreaks": _one_shots(
        "VariBreaks",
        "hydrogen-drumkits",
        {
            36: "VP~Kick~1.flac", 35: "VP~Kick~2.flac", 38: "VP~Snare~1.flac", 40: "VP~Snare~2.flac",
            42: "VP~Hat~1~Cl.flac", 44: "VP~Hat~1~Pd.flac", 46: "VP~Hat~1~Op.flac", 51: "VP~Hat~2~Cl.flac",
            50: "VP~Tom~Hi.flac", 47: "VP~Tom~Mid.flac", 45: "VP~Tom~Mid.flac", 43: "VP~Tom~Low.flac",
            37: "VP~Click.flac",
        },
    ),
    "electric_empire": _one_shots(
        "ElectricEmpireKit",
        "hydrogen-drumkits",
        {
            36: "EE_Kick_Low_1.flac", 35: "EE_Kick_Hard_1.flac", 38: "EE_Snare_1.flac", 40: "EE_Snare_2.flac",
            39: "EE_Clap.flac", 37: "EE_Click.flac", 42: "EE_Hat_Cl_Dirty.flac", 44: "EE_Hat_Low.flac",
            46: "EE_Hat_Op_Dirty.flac", 51: "EE_Hat_Ring_1.flac", 63: "EE_Conga_1.flac",
            64: "EE_Conga_2.flac", 45: "EE_Drum_1.flac", 43: "EE_Drum_2.flac",
        },
    ),
    "colombo": _one_shots(
        "ColomboAcousticDrumkit",
        "hydrogen-drumkits",
        {
            36: "bassdrum-4mics-br-stereo-soft4.flac bassdrum-4mics-br-stereo-normal3.flac",
            38: "snare-opaque-normal-mic-normal_shot2.flac snare-opaque-normal-mic-rimshot6.flac "
            "snare-opaque-normal-mic-rimshot7.flac",
            40: "snare-opaque-2mics_normal-shot1.flac", 37: "stick-rim-9.flac",
            42: "hihat-closed-6.flac hihat-closed-1.flac hihat-closed-4.flac",
            44: "hihat-semi-open-1.flac", 46: "hihat-open-4.flac hihat-open-5.flac",
            49: "crash16i__crash1.flac",
            57: "crash20i__crash.flac", 51: "crash20i__ride4.flac", 53: "crash20i__ride-cup1.flac",
            50: "tom-hi-1.flac", 47: "tom-mid-1.flac", 45: "tom-mid-1.flac", 43: "tom-low-1.flac",
        },
    ),
}  # fmt: skip


def find_soundfont(name: str) -> Path:
    """The file of sound font `name` (a key of FONTS).

    Raises ValueError for another name, FileNotFoundError (naming the package to install) if it is not there.
    """
    if name not in FONTS:
        raise ValueError(f"unknown sound font {name!r}: choose from {', '.join(FONTS)}")
    for folder in FOLDERS:
        for file in FONTS[name].files:
            if (path := Path(folder) / file).exists():
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
    rng: random.Random, melodic: dict[str, int], drums: dict[str, int], *, usable
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
