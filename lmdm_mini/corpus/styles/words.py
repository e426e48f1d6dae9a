"""How people speak of each style: its names, moods, uses and parts, and names that no caption uses.

A text encoder that has read one phrase a style learns that phrase, not the style, so each goes by several
names. `held_out` names the style in words that no caption of the corpus uses: prompts for judging unseen
wording. `paraphrases.json` has more: the styles as people speak of them who have not read this page (scenes,
eras, makers, dances). No piece is captioned with those; models practise them as captions.

Notebook: 01_sound_to_latents.
"""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Words:
    """The words of one style. In `stems` "{}" is the instrument that plays."""

    names: tuple[str, ...]
    held_out: tuple[str, ...]
    uses: tuple[str, ...]
    moods: tuple[str, ...]  # for a piece that names none
    stems: dict[str, tuple[str, ...]]  # drums, bass, chords, lead


PARAPHRASES: dict[str, list[str]] = json.loads(
    Path(__file__).parents[1].joinpath("paraphrases.json").read_text(encoding="utf-8")
)

WORDS = {
    "chorale": Words(
        names=(
            "chorale",
            "four-part hymn",
            "baroque chorale",
            "church hymn",
            "chorale in the style of Bach",
            "solemn four-part harmony",
            "sacred baroque music",
        ),
        held_out=(
            "a Lutheran congregation singing in four voices",
            "choral church harmony",
            "Bachian voices",
        ),
        uses=("for a candle-lit church", "for a quiet Sunday morning", "for a solemn moment"),
        moods=("solemn", "serene"),
        stems={
            "drums": ("soft {} part", "slow ceremonial {} part"),
            "bass": ("hymn bass part for {}", "low {} voice"),
            "chords": ("inner-voice part for {}", "{} harmony"),
            "lead": ("hymn melody for {}", "{} melody"),
        },
    ),
    "folk": Words(
        names=(
            "folk tune",
            "Irish traditional tune",
            "traditional session tune",
            "Celtic folk tune",
            "folk session",
            "old-time folk music",
            "traditional music from Ireland",
        ),
        held_out=("a ceilidh band", "pub fiddlers playing reels", "rural barn dance music"),
        uses=(
            "for a lively evening with friends",
            "for dancing in a village hall",
            "for a walk in the hills",
        ),
        moods=("lively", "cheerful"),
        stems={
            "drums": ("light {} rhythm", "folk {} pulse"),
            "bass": ("simple {} line", "steady {} part"),
            "chords": ("{} accompaniment", "folk {} backing"),
            "lead": ("{} tune", "ornamented {} melody"),
        },
    ),
    "lofi": Words(
        names=(
            "lo-fi hip hop beat",
            "chillhop",
            "mellow study beat",
            "dusty boom bap",
            "lofi",
            "lo-fi beat",
            "laid-back hip hop instrumental",
            "chilled lofi hip hop",
        ),
        held_out=("bedroom beats for homework", "hazy sampled hip-hop loop", "coffee shop beats"),
        uses=("for a rainy evening", "to study to", "for a late night at the desk", "to unwind with"),
        moods=("mellow", "relaxed"),
        stems={
            "drums": ("dusty {} beat", "lazy {} groove", "boom bap {} loop"),
            "bass": ("mellow {} line", "round, laid-back {} line"),
            "chords": ("jazzy {} part", "warm {} progression"),
            "lead": ("simple {} melody", "dreamy {} melody"),
        },
    ),
    "house": Words(
        names=(
            "house track",
            "club house",
            "four-on-the-floor dance music",
            "deep house",
            "electronic dance track",
            "house music",
            "four-to-the-floor house groove",
        ),
        held_out=("a nightclub floor-filler", "pumping disco-tech", "a warehouse rave"),
        uses=("for the dance floor", "for a long night out", "for a workout", "for a summer party"),
        moods=("driving", "energetic"),
        stems={
            "drums": ("four-on-the-floor {} beat", "house {} groove", "club {} loop"),
            "bass": ("pumping {} line", "repeating {} riff"),
            "chords": ("club {} part", "house {} progression"),
            "lead": ("catchy {} hook", "{} top line"),
        },
    ),
    "ambient": Words(
        names=(
            "ambient music",
            "ambient soundscape",
            "slow atmospheric pads",
            "drone-like ambient piece",
            "floating ambient texture",
            "ambient",
            "beatless atmospheric music",
        ),
        held_out=("a weightless sonic wash", "music of empty space", "sleepy synthesizer clouds"),
        uses=("for falling asleep", "for meditation", "for looking at the stars", "to calm down with"),
        moods=("calm", "spacious"),
        stems={
            "drums": ("sparse {} pattern", "soft distant {} pulse"),
            "bass": ("deep {} drone", "slow, low {} part"),
            "chords": ("slowly changing {} texture", "sustained {} harmony"),
            "lead": ("slow {} melody", "drifting {} line"),
        },
    ),
    "chiptune": Words(
        names=(
            "chiptune",
            "8-bit game music",
            "retro video game theme",
            "8-bit chiptune",
            "arcade game music",
            "square-wave chiptune",
            "old-school game soundtrack",
        ),
        held_out=("a Game Boy platformer", "pixel-art adventure music", "bleeps and bloops from a console"),
        uses=("for the first level of a game", "for a boss fight", "for a retro racing game"),
        moods=("playful", "bright"),
        stems={
            "drums": ("8-bit {} beat", "noisy game-console {} pattern"),
            "bass": ("bouncing {} line", "buzzing 8-bit {} line"),
            "chords": ("8-bit {} part", "retro {} backing"),
            "lead": ("catchy {} melody", "8-bit {} tune"),
        },
    ),
    "funk": Words(
        names=(
            "funk groove",
            "funk",
            "funky band jam",
            "syncopated funk",
            "seventies funk groove",
            "funk band",
            "tight funk jam",
        ),
        held_out=(
            "slap-happy James Brown rhythm section",
            "greasy get-down music",
            "soulful dance-floor strut",
        ),
        uses=("for a dance party", "for a car chase in an old film", "to get moving"),
        moods=("groovy", "punchy"),
        stems={
            "drums": ("syncopated {} groove", "tight funk {} beat"),
            "bass": ("syncopated {} line", "funky {} riff"),
            "chords": ("choppy {} part", "rhythmic {} backing"),
            "lead": ("{} riff", "punchy {} line"),
        },
    ),
    "jazz": Words(
        names=(
            "jazz",
            "jazz trio",
            "jazz combo",
            "small jazz group",
            "acoustic jazz",
            "jazz club music",
            "mainstream jazz",
        ),
        held_out=("a smoky nightclub trio", "cool swing standards", "blue note session"),
        uses=("for a dinner with friends", "for a late-night bar", "for a city walk at dusk"),
        moods=("swinging", "elegant"),
        stems={
            "drums": ("light jazz {} groove", "jazz {} pattern"),
            "bass": ("supple {} line", "jazz {} part"),
            "chords": ("jazz {} part", "{} accompaniment"),
            "lead": ("{} solo", "improvised {} line"),
        },
    ),
    "quartet": Words(
        names=(
            "string quartet",
            "classical string quartet",
            "classical chamber music",
            "chamber music for strings",
            "Viennese classical music",
            "music of Haydn's time",
            "quartet for two violins, viola and cello",
        ),
        held_out=(
            "a gavotte for bewigged listeners",
            "polite rococo strings at a soiree",
            "rosin and horsehair conversation",
        ),
        uses=(
            "for a formal dinner",
            "for a museum afternoon",
            "for a costume drama",
            "for reading an old novel",
        ),
        moods=("elegant", "graceful"),
        stems={
            "drums": ("soft {} part",),
            "bass": ("cello part for {}", "low {} voice"),
            "chords": ("inner parts for {}", "{} accompaniment"),
            "lead": ("first violin melody for {}", "classical {} line"),
        },
    ),
    "rock": Words(
        names=(
            "rock band",
            "electric guitar rock",
            "hard rock",
            "garage rock",
            "guitar-driven rock",
            "classic rock",
            "riff-based rock",
        ),
        held_out=("headbanging axemen", "a leather-jacketed stadium trio", "mosh pit mayhem"),
        uses=(
            "for a long drive",
            "for a motorcycle ride",
            "for letting off steam",
            "for the opening of a match",
        ),
        moods=("loud", "driving"),
        stems={
            "drums": ("pounding rock {} beat", "hard-hitting {} groove"),
            "bass": ("driving {} line", "rock {} riff"),
            "chords": ("crunchy {} riff", "power chords on {}"),
            "lead": ("{} solo", "wailing {} line"),
        },
    ),
    "reggae": Words(
        names=(
            "reggae",
            "roots reggae",
            "dub",
            "reggae groove",
            "one-drop reggae",
            "dub reggae",
            "Jamaican reggae",
        ),
        held_out=("rastaman skanking in Kingston", "a selector's sunsplash", "Tubby's wizardry"),
        uses=("for a day at the beach", "for a lazy summer afternoon", "for a hammock in the shade"),
        moods=("relaxed", "warm"),
        stems={
            "drums": ("one-drop {} pattern", "reggae {} groove"),
            "bass": ("heavy, melodic {} line", "deep reggae {} riff"),
            "chords": ("off-beat {} chops", "reggae {} backing"),
            "lead": ("laid-back {} melody", "echoing {} line"),
        },
    ),
    "techno": Words(
        names=(
            "techno",
            "techno track",
            "minimal techno",
            "driving techno",
            "machine techno",
            "hypnotic techno",
            "underground techno",
        ),
        held_out=("bunker hammering with a 909", "Tresor vault at noon", "unyielding vault stomp"),
        uses=("for the late hours of a club", "for running at night", "for deep concentration"),
        moods=("hypnotic", "driving"),
        stems={
            "drums": ("pounding {} loop", "straight techno {} beat"),
            "bass": ("rumbling {} line", "rolling off-beat {} line"),
            "chords": ("sparse {} hits", "echoing {} part"),
            "lead": ("sixteenth-note {} sequence", "looping {} line"),
        },
    ),
    "breakbeat": Words(
        names=(
            "drum and bass",
            "breakbeat",
            "jungle",
            "drum 'n' bass",
            "breakbeat track",
            "chopped breakbeat music",
            "fast breakbeats with heavy bass",
        ),
        held_out=("junglist bashment", "Goldie's metalheadz", "a rinsed-out soundsystem"),
        uses=("for a car chase at night", "for snowboarding", "for a fast computer game"),
        moods=("energetic", "fast"),
        stems={
            "drums": ("chopped {} loop", "fast breakbeat {} pattern"),
            "bass": ("deep, rolling {} line", "half-time {} part"),
            "chords": ("atmospheric {} part", "{} stabs and pads"),
            "lead": ("{} hook", "floating {} melody"),
        },
    ),
}
