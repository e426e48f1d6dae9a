"""Numbers that callers give: every kind of whole number is taken, everything else gets a sentence."""

import numpy as np
import pytest
import torch

from lmdm_mini.checks import guidance, real_number, temperature, whole_number


@pytest.mark.parametrize(
    "value", [8, 8.0, np.int64(8), np.float32(8), np.array(8), torch.tensor(8), torch.tensor(8.0)]
)
def test_whole_numbers_of_any_type_are_taken(value):
    number = whole_number(value, "steps", 1)
    assert number == 8 and type(number) is int


@pytest.mark.parametrize("value", [None, "8", 8.5, float("nan"), float("inf"), True, [8], 0, -3, 1j, b"8"])
def test_everything_else_is_refused_with_a_sentence(value):
    with pytest.raises(ValueError, match="steps is .*; a whole number from 1 on is needed"):
        whole_number(value, "steps", 1)


def test_bounds_are_named():
    assert whole_number(40, "top_k", 1, 40) == 40
    with pytest.raises(ValueError, match="top_k is 41; a whole number from 1 to 40 is needed"):
        whole_number(41, "top_k", 1, 40)
    with pytest.raises(ValueError, match="seed is 18446744073709551616"):
        whole_number(2**64, "seed", -(2**63), 2**64 - 1)


def test_real_numbers():
    assert real_number(np.float32(0.5), "seconds") == 0.5 and real_number(torch.tensor(2), "seconds") == 2.0
    for bad in (None, "2", float("nan"), float("inf"), True, torch.zeros(2)):
        with pytest.raises(ValueError, match="seconds is .*finite number"):
            real_number(bad, "seconds")


def test_guidance_has_bounds():
    assert [guidance(value) for value in (0, 1, 2.5, 20)] == [0, 1, 2.5, 20]
    for bad in (-0.1, 20.1, 100, 1e6):
        with pytest.raises(ValueError, match="from 0 to 20.*beyond about 7"):
            guidance(bad)
    with pytest.raises(ValueError, match="--cfg-scale is nan"):
        guidance(float("nan"), "--cfg-scale")


def test_temperature_has_a_floor():
    assert temperature(1.1) == 1.1
    for bad in (0, -1, 1e-45):
        with pytest.raises(ValueError, match="take top_k=1"):
            temperature(bad)
