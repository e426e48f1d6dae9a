"""Whether a prompt is English, which is all that the sentence encoder and the models have read.

A linear readout of the sentence's embedding tells English prompts about music from those in other languages:
ridge regression on the sentences of ``languages.json`` (ten other languages) and on the wording of the
captions. Distance alone does not tell them apart: to its nearest caption, "psytrance" is as far as most
French sentences are.

Of languages that it was not fitted on, it finds six in seven sentences; of English prompts that it was not
fitted on, it took none for another language but Italian musical terms, and those are among its sentences now.

Notebook: 02_rectified_flow.
"""

import json
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from lmdm_mini.corpus.captions import PARAPHRASES, STYLE_WORDS
from lmdm_mini.lazy import loaded_once

SENTENCES = Path(__file__).with_name("languages.json")
LANGUAGE_READOUT = Path(__file__).with_name("language_readout.safetensors")
FOREIGN = 0.65  # beyond this a sentence is taken for another language; 0 is English, 1 is not


def fit_language_readout(
    embed: Callable[[list[str]], list[Tensor]], sentences: dict[str, list[str]] | None = None
) -> Tensor:
    """Weights (385,) that tell another language from a sentence's embedding and a 1.

    embed: :func:`lmdm_mini.conditioning.text.embed_sentences`. sentences: by language; None are those in the
    file. It takes seconds, so what it gives is kept in a file, which
    ``python -m lmdm_mini.conditioning.text`` writes.
    """
    sentences = sentences or json.loads(SENTENCES.read_text(encoding="utf-8"))
    captions = [words for style in STYLE_WORDS for words in (*STYLE_WORDS[style], *PARAPHRASES[style])]
    english = list(dict.fromkeys([*captions, *sentences["en"]]))
    other = [words for language, some in sentences.items() if language != "en" for words in some]
    x = torch.stack([_direction(tokens) for tokens in embed([*english, *other])])
    y = torch.cat([torch.zeros(len(english)), torch.ones(len(other))])
    share = torch.where(y > 0, 0.5 / len(other), 0.5 / len(english)) * len(y)  # both sides count the same
    penalty = torch.eye(x.shape[1])
    return torch.linalg.solve(x.T @ (share[:, None] * x) + penalty, x.T @ (share * y))


def _direction(tokens: Tensor) -> Tensor:
    """A sentence (1 + tokens, 384) as (385,): its direction, and a 1."""
    return torch.cat([F.normalize(tokens[0], dim=0), torch.ones(1)])


@loaded_once
def _readout() -> Tensor:
    return load_file(LANGUAGE_READOUT)["weight"]


def foreign(words: str, tokens: Tensor) -> bool:
    """Whether a sentence reads like another language: by its script, else by its embedding (1 + tokens, 384)
    of the sentence encoder."""
    letters = [letter for letter in words if letter.isalpha()]
    latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    return 2 * latin < len(letters) or float(_direction(tokens) @ _readout()) > FOREIGN


def warn_if_foreign(embedded: dict[str, Tensor]) -> None:
    """Warns of sentences that read like another language; embedded: sentence -> (1 + tokens, 384)."""
    for words, tokens in embedded.items():
        if foreign(words, tokens):
            warnings.warn(
                f"prompts are English, and {words[:60]!r} reads like another language: "
                "it may be misunderstood",
                stacklevel=4,
            )
