"""Caches are exact: cached equals uncached for every block, prompt and length, and context hears clean sound
alone."""

import pytest
import torch
from small import make_model as model_of
from small import words

from lmdm_mini.conditioning import Conditions
from lmdm_mini.diffusion.dit import DiT, DiTConfig
from lmdm_mini.diffusion.kv_cache import SLACK, CachedTarget, KVCache, prefill
from lmdm_mini.diffusion.masks import block_causal_mask, enc_dec_mask
from lmdm_mini.transformer import GRANULE, WINDOW


def uncached(model, history, x, t, text):
    """The forward pass over the whole history (1, 64, n) and the target x (B, 64, o)."""
    batch, known, count = len(x), history.shape[-1], x.shape[-1]
    window = torch.cat([history.expand(batch, -1, -1), x], -1)
    context_mask = torch.cat([torch.ones(batch, known), torch.zeros(batch, count)], 1)
    if model.config.variant == "enc_dec":
        mask = enc_dec_mask(context_mask)
    else:  # of the copies [clean | noisy] of all frames, the clean past and the noisy block
        pad = -(known + count) % count
        whole = block_causal_mask(known + count + pad, count) if known % count == 0 else None
        assert whole is not None, "the test places blocks at multiples of their length"
        chosen = torch.cat([torch.arange(known), known + count + pad + known + torch.arange(count)])
        mask = whole[chosen][:, chosen]
    return model(window, t, text, context_mask, attention_mask=mask)[..., known:]


@pytest.mark.parametrize("block", [pytest.param(12, marks=pytest.mark.long), 24, 48])
def test_block_causal_cached_equals_the_whole_history(block):
    """Many blocks, longer than the window, prompts changing in between; the history is not cut anywhere."""
    model, generator = model_of("block_causal"), torch.Generator().manual_seed(1)
    cache, history = KVCache(model), torch.zeros(1, 64, 0)
    for number in range(480 // block):
        x, t = torch.randn(2, 64, block, generator=generator), torch.rand(2, generator=generator)
        text = words(2, number // 3)
        for _ in range(2):  # steps do not disturb each other
            v = CachedTarget(model, cache, x.shape[-1], conditions=text)(x, t)
        assert (v - uncached(model, history, x, t, text)).abs().max() < 1e-4
        clean = torch.randn(1, 64, block, generator=generator)
        prefill(model, cache, clean)
        history = torch.cat([history, clean], -1)


@pytest.mark.parametrize("block", [12, 24, 48])
@pytest.mark.parametrize("known", [0, 12, 96, 192])
def test_enc_dec_cached_equals_the_window(block, known):
    model, generator = model_of("enc_dec"), torch.Generator().manual_seed(2)
    cache = KVCache(model)
    for seed in range(2):  # the second context replaces the first
        context, x = (
            torch.randn(1, 64, known, generator=generator),
            torch.randn(2, 64, block, generator=generator),
        )
        prefill(model, cache, context)
        t, text = torch.rand(2, generator=generator), words(2, seed)
        assert (
            CachedTarget(model, cache, x.shape[-1], conditions=text)(x, t)
            - uncached(model, context, x, t, text)
        ).abs().max() < 1e-4


@pytest.mark.parametrize("variant", ["enc_dec", "block_causal"])
def test_context_hears_nothing_but_clean_sound(variant):
    """By gradient: no hidden state of the context depends on noise level, noise, prompt or target, in any
    layer."""
    model, known, block = model_of(variant), 48, 24
    x, t, text = torch.randn(1, 64, known + block), torch.tensor([0.7]), words(1)
    mask = torch.cat([torch.ones(1, known), torch.zeros(1, block)], 1)
    copies = block_causal_mask(known + block, block)
    chosen = torch.cat([torch.arange(known), known + block + known + torch.arange(block)])
    attention = enc_dec_mask(mask) if variant == "enc_dec" else copies[chosen][:, chosen]
    for leaf in (x, t, text.tokens):
        leaf.requires_grad_(True)
    hidden = model(x, t, text, mask, attention_mask=attention, return_hidden=2)
    gradients = torch.autograd.grad(
        hidden[:, :known].square().sum(), (x, t, text.tokens), allow_unused=True, retain_graph=True
    )
    assert (
        gradients[0][..., known:].abs().max() == 0
        and gradients[0][..., :known].abs().min(-1).values.max() > 0
    )
    assert all(g is None or g.abs().max() == 0 for g in gradients[1:])
    gradients = torch.autograd.grad(hidden[:, known:].square().sum(), (x, t, text.tokens))
    assert all(g.abs().max() > 0 for g in gradients)  # the target hears it all


def test_no_clean_frame_looks_at_noise_and_windows_end():
    frames, block = 480, 24
    mask = block_causal_mask(frames, block)
    clean, before, own = mask[:frames, :frames], mask[frames:, :frames], mask[frames:, frames:]
    assert not mask[:frames, frames:].any()
    assert clean[250].nonzero().flatten().tolist() == list(range(240 - WINDOW, 240 + GRANULE))
    assert before[250].nonzero().flatten().tolist() == list(range(240 - WINDOW, 240))
    assert own[250].nonzero().flatten().tolist() == list(range(240, 264))


def test_the_hour_is_like_the_minute():
    """Positions only count as differences: the same music an hour later gives the same numbers."""
    model, generator = model_of("block_causal"), torch.Generator().manual_seed(3)
    clean, x, t, text = (
        torch.randn(1, 64, 240, generator=generator),
        torch.randn(2, 64, 24, generator=generator),
        torch.rand(2),
        words(2),
    )
    made = []
    for start in (0, 77_520):
        cache = KVCache(model)
        cache.clear(start)
        prefill(model, cache, clean)
        made.append(
            CachedTarget(
                model,
                cache,
                x.shape[-1],
                conditions=Conditions(text, torch.linspace(0, 1, x.shape[-1])[None]),
            )(x, t)
        )
    assert (made[0] - made[1]).abs().max() < 1e-4


def test_late_context_comes_again():
    """Two granules taken back and replaced: as if the right ones had been there from the start."""
    model, generator = model_of("block_causal"), torch.Generator().manual_seed(4)
    past, wrong, right = (torch.randn(1, 64, n, generator=generator) for n in (300, 24, 24))
    x, t, text = torch.randn(1, 64, 24, generator=generator), torch.tensor([0.4]), words(1)
    late, straight = KVCache(model), KVCache(model)
    for cache in (late, straight):
        prefill(model, cache, past)
    whole = KVCache(model_of("enc_dec"))
    prefill(model_of("enc_dec"), whole, past[..., :48])
    whole.rollback(36)
    assert int((whole.positions >= 0).sum()) == 36
    prefill(model, late, wrong)
    late.rollback(300)
    for cache in (late, straight):
        prefill(model, cache, right)
    assert (
        CachedTarget(model, late, x.shape[-1], conditions=text)(x, t)
        - CachedTarget(model, straight, x.shape[-1], conditions=text)(x, t)
    ).abs().max() < 1e-5
    for frame in (324 - SLACK - GRANULE, 336):
        with pytest.raises(ValueError, match="cannot go back"):
            late.rollback(frame)
    with pytest.raises(ValueError, match="granule"):
        late.rollback(318)


def test_memory_is_flat_and_bad_requests_are_refused():
    model = model_of("block_causal")
    cache = KVCache(model)
    size = cache.keys.numel()
    prefill(model, cache, torch.randn(1, 64, 1200))
    assert cache.keys.numel() == size and int((cache.positions >= 0).sum()) == WINDOW + SLACK
    with pytest.raises(ValueError, match="multiple"):
        prefill(model, cache, torch.randn(1, 64, 13))
    with pytest.raises(ValueError, match="takes up to"):
        CachedTarget(model, cache, 12, conditions=words(3))
    with pytest.raises(ValueError, match="bidirectional"):
        KVCache(DiT(DiTConfig(width=48, depth=1, heads=2)))
    with pytest.raises(ValueError, match="holds"):
        prefill(model_of("enc_dec"), KVCache(model_of("enc_dec")), torch.randn(1, 64, 204))
