"""Prompts: tokens, mixtures, tempo, and what is refused."""

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
from lmdm_mini.conditioning.prompt import clean_mixture, clean_prompt


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


def test_the_readout_in_its_file_is_what_the_words_give():
    kept, fitted = load_file(STYLE_READOUT)["weight"], fit_style_readout()
    assert torch.allclose(kept, fitted, atol=1e-3), (
        "captions have changed: run `python -m lmdm_mini.conditioning.text`"
    )
