"""Prompts: tokens, mixtures, tempo, and what is refused."""

import warnings

import pytest
import torch
from safetensors.torch import load_file

from lmdm_mini.conditioning import (
    STYLE_READOUT,
    encode_text,
    fit_style_readout,
    no_text,
    parse_bpm,
    parse_mixture,
    stack_texts,
)
from lmdm_mini.conditioning.language import LANGUAGE_READOUT, fit_language_readout
from lmdm_mini.conditioning.prompt import clean_mixture, clean_prompt, described_prompt, named_bpm
from lmdm_mini.conditioning.text import embed_sentences
from lmdm_mini.corpus.captions import HELD_OUT_WORDING


def test_prompts_become_a_sentence_and_its_tokens():
    text = encode_text(["funk with slap bass", ""])
    assert text.tokens.shape[0] == 2 and text.tokens.shape[2] == 384
    there = ~torch.isinf(text.log_weight)
    assert there[0].sum() > 5 and there[1].sum() == 0 and not text.empty and encode_text([""]).empty
    assert torch.allclose(text.tokens[0, 0], text.tokens[0, 1:][there[0, 1:]].mean(0), atol=1e-5)


def test_sentences_that_mean_the_same_are_near():
    a, b, c = encode_text(
        ["mellow beats to study to", "lo-fi hip hop for studying", "a church organ chorale"]
    ).tokens[:, 0]
    assert torch.cosine_similarity(a, b, 0) > torch.cosine_similarity(a, c, 0) + 0.1


def test_a_mixture_stands_side_by_side():
    funk, choir = encode_text(["funk, 100 bpm"]), encode_text(["choir, 121 bpm"])
    mixed = encode_text([[("funk, 100 bpm", 3.0), ("choir, 121 bpm", 1.0), ("nobody", 0.0), ("", 2.0)]])
    assert torch.allclose(mixed.tokens, torch.cat([funk.tokens, choir.tokens], 1), atol=1e-4)
    first = funk.tokens.shape[1]
    assert torch.allclose(mixed.log_weight[0, :first].exp(), torch.tensor(0.75))
    assert torch.allclose(mixed.log_weight[0, first:].exp(), torch.tensor(0.25))
    assert mixed.bpm.item() == 100  # of the heaviest part that names one


@pytest.mark.parametrize(
    "words, bpm",
    [
        ("lo-fi, 90 bpm", 90),
        ("house at 124.5 BPM", 124.5),
        ("funk, tempo 116", 116),
        ("80 beats per minute", 80),
        ("a tempo of 72", 72),
        ("nothing said", 0),
        ("9 bpm", 0),
        ("in the year 1990", 0),
        ("999 bpm", 0),
        ("up-tempo 8-bit, 140-bpm", 140),
        ("bpm 110", 110),
    ],
)
def test_a_tempo_is_read(words, bpm):
    assert parse_bpm(words) == bpm


def test_what_is_no_prompt_is_refused():
    with pytest.warns(UserWarning, match="only the first"):
        assert len(clean_prompt("la " * 5000)) <= 1000
    for bad in (3, ["funk", "choir"], [("funk",)], [(3, 1.0)], None):
        with pytest.raises(TypeError, match="prompt"):
            clean_mixture(bad)
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="weight of 'funk'"):
            clean_mixture([("funk", weight)])
    assert clean_mixture([]) == [] and clean_mixture([("  ", 1.0), ("funk", 0.0)]) == []


def test_texts_stack():
    both = stack_texts([encode_text(["a long sentence about funk"]), no_text(2)])
    assert both.tokens.shape[0] == 3 and torch.isinf(both.log_weight[1:]).all() and both.bpm.shape == (3,)
    assert (
        both.sentence.shape == (3, 384)
        and both.sentence[0].square().mean() == pytest.approx(1)
        and not both.sentence[1:].any()
    )


def test_a_mixture_has_the_weighted_sentence():
    funk, choir, mixed = encode_text(["funk", "choir", [("funk", 3), ("choir", 1)]]).sentence
    assert torch.allclose(mixed, 0.75 * funk + 0.25 * choir, atol=1e-5)


def test_a_mixture_in_one_line():
    assert parse_mixture("funk, 110 bpm:0.7 + choir:.3") == [("funk, 110 bpm", 0.7), ("choir", 0.3)]
    for plain in ("drums + bass", "funk", "", "swing: the 1930s"):
        assert parse_mixture(plain) == plain


@pytest.mark.parametrize(
    "words, bpm",
    [
        ("driving club music for dancing", 124),
        ("a fiddle playing in a pub", 99),
        ("mellow beats to study to", 80),
        ("retro video game theme", 149),
        ("funk, 97 bpm", 97),
        ("", 0),
    ],
)
def test_without_a_tempo_a_usual_one_is_taken(words, bpm):
    assert encode_text([words]).bpm.item() == bpm


@pytest.mark.long
def test_the_readout_in_its_file_is_what_the_words_give():
    kept, fitted = load_file(STYLE_READOUT)["weight"], fit_style_readout()
    assert torch.allclose(kept, fitted, atol=1e-3), (
        "captions have changed: run `python -m lmdm_mini.conditioning.text`"
    )


@pytest.mark.parametrize(
    "line",
    [
        "funk:0,7 + choir:0,3",
        "funk:70% + choir:30%",
        "funk: 70 % + choir: 30 %",
        "funk:0.7 + choir",
        "funk:.7+choir:.3",
        "70% funk + 30% choir",
        "0.7 funk + 0.3 choir",
        "0.7 * funk + 0.3 * choir",
        "funk (70%) + choir (30%)",
        "(funk:0.7) + (choir:0.3)",
        "funk=0.7 + choir=0.3",
        "funk:0.7, choir:0.3",
        "70% funk, 30% choir",
        "funk:0,7; choir:0,3",
        "funk:0.7 and choir:0.3",
        "funk：0.7＋choir：0.3",
        "funk:0.7 + choir:0.3 +",
        "funk:7 + choir:3",
    ],
)
def test_a_mixture_is_seen_where_a_person_would_see_one(line):
    parts, weights = zip(*clean_mixture(line))
    assert parts == ("funk", "choir") and weights == pytest.approx((0.7, 0.3))


@pytest.mark.parametrize(
    "line",
    [
        "tempo: 3:4 + 6:8",
        "4:4 + 3:4 waltz",
        "2 guitars + 1 drum",
        "bpm: 120 + funk",
        "intro: 8, verse: 16",
        "funk with 50% swing, 20% reverb",
        "swing: 60%",
        "R+B and soul",
        "piano, 90 bpm + strings",
    ],
)
def test_a_sentence_stays_a_sentence(line):
    assert clean_mixture(line) == [(line, 1.0)]


def test_tempo_and_words_of_a_part_stay_together():
    assert parse_mixture("funk, 110 bpm:0.7 + R+B:.3") == [("funk, 110 bpm", 0.7), ("R+B", 0.3)]
    assert named_bpm("funk, 110 bpm:0.3 + house, 124 bpm:0.7") == 124


def test_weights_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="all weights .* are 0"):
        clean_mixture("funk:0 + choir:0")
    with pytest.raises(ValueError, match="weight of 'funk' is -1"):
        clean_mixture("funk:-1 + choir:2")
    for weight in (None, "much"):
        with pytest.raises(ValueError, match="weight of 'funk'"):
            clean_mixture([("funk", weight)])
    with pytest.raises(ValueError, match="no text, its character 2"):
        clean_mixture("a\udcffb")


@pytest.mark.parametrize(
    "words, bpm",
    [
        ("120 beats/min", 120),
        ("tempo is 128", 128),
        ("at 96 BPM", 96),
        ("120bpm", 120),
        ("120 B.P.M.", 120),
        ("92,5 bpm", 92.5),
        ("tempo around 90", 90),
        ("tempo should be 100", 100),
        ("118-122 bpm", 120),
        ("120 to 130 BPM", 125),
        ("60 beats a min", 60),
        ("BPM=100", 100),
        ("♩ = 88", 88),
        ("uptempo 80s funk", 0),
        ("up-tempo 70's soul", 0),
        ("tempo: 3:4", 0),
        ("tempo 60%", 0),
    ],
)
def test_a_tempo_in_usual_words_is_read(words, bpm):
    assert parse_bpm(words) == bpm


def test_what_was_understood_is_one_line():
    told = described_prompt(clean_mixture("funk:70% + choir, 90 bpm"), 90.0)
    assert told == "prompt: funk (70%) + choir, 90 bpm (30%); tempo: 90 beats a minute"
    assert described_prompt([("funk", 1.0)], 106.0).endswith("106 beats a minute, which is usual for it")
    assert described_prompt([], 0.0) == "no prompt: plays what comes, at any tempo"


# ---------------------------------------------------------------- language

OTHER = (  # none of these is among the sentences that the readout was fitted on
    "ein langsames Lied mit Klavier und Geige",
    "schnelle Musik zum Tanzen",
    "une chanson lente avec piano et violon",
    "musique rapide pour la fête",
    "una canción lenta con piano y violín",
    "música rápida para la fiesta",
    "una melodia lenta con chitarra",
    "uma melodia lenta com guitarra",
    "慢速的钢琴和小提琴",
    "ピアノとバイオリンのゆっくりした曲",
    "медленная мелодия на гитаре",
    "느린 피아노 음악",
)
ENGLISH = (
    "a slow song with piano and violin",
    "fast music to dance to",
    "fuzz guitar and a stomping beat, 140 bpm",
    "a nocturne in the style of Chopin",
    "sparse trumpet over a double bass",
    "Ethiopian jazz with organ",
    "samba school drums",
    "tuba and glockenspiel",
    "an eerie waltz for a haunted carousel",
    "wedding march",
    "jungle breaks, 165 bpm",
    "soft felt piano",
    "a cappella barbershop quartet",
    "bebop",
    "dub",
    "café music, nylon guitar",
    "Björk-like vocals and strings",
    "moody",
    "90 bpm",
    "E",
)


def test_another_language_is_noticed():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        encode_text([*OTHER, [("funk", 0.5), ("une chanson lente au piano", 0.5)]])
    said = "\n".join(str(warning.message) for warning in caught)
    found = [words for words in OTHER if repr(words) in said]
    assert len(found) >= len(OTHER) - 2, set(OTHER) - set(found)
    assert "prompts are English" in said and "'une chanson lente au piano'" in said and "'funk'" not in said


def test_ordinary_english_is_not_warned_of():
    wording = [words for some in HELD_OUT_WORDING.values() for words in some]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode_text([*ENGLISH, *wording, ""])


@pytest.mark.long
def test_the_language_readout_in_its_file_is_what_the_sentences_give():
    kept, fitted = load_file(LANGUAGE_READOUT)["weight"], fit_language_readout(embed_sentences)
    assert torch.allclose(kept, fitted, atol=1e-3), "run `python -m lmdm_mini.conditioning.text`"
