"""What a player controls, in the form in which the models read it: prompt, tempo and clock, sketch, input
stem.

`encode_text` makes a batch of prompts; `prompt.py` understands what a person writes.
"""

from lmdm_mini.conditioning.clock import clock_features, frames_to_beats, tempo_features
from lmdm_mini.conditioning.conditions import Conditions, stack_conditions
from lmdm_mini.conditioning.prompt import Prompt, parse_bpm, parse_mixture
from lmdm_mini.conditioning.sketch import Sketch, StreamSketch
from lmdm_mini.conditioning.stem import Stem
from lmdm_mini.conditioning.text import (
    STYLE_READOUT,
    Text,
    encode_text,
    fit_style_readout,
    no_text,
    stack_texts,
)
