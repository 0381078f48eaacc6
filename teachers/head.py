"""Whether a model says what its output embedding makes of its last hidden states, or bends that first.

Signals, fused losses and scores take hidden states and multiply them with the output embedding themselves. Some models
do more: they scale or cap their logits (Granite, Cohere, Gemma 2, Falcon-H1), each under a name of its own. No list of
names would stay true, so the model is run once with logits that are put in the embedding's place.
"""

from __future__ import annotations

from typing import Any

FAR = 100.0
"""Logits between -FAR and FAR are put in: a cap would show, also in a model whose own are still small"""
PROBE = 4
"""Tokens of the run"""
ROUNDING = 0.01
"""Hidden states of two runs are the same when they differ by less, of the largest"""


def is_plain(model: Any) -> bool:
    """Whether `softmax(model(x).logits) = softmax(output_embedding(base_model(x)))`, also for logits up to FAR."""
    import torch

    head, seen = model.get_output_embeddings(), list[Any]()
    weight = head.weight

    def put_in(module: Any, given: Any, logits: torch.Tensor) -> torch.Tensor:
        seen.append(given[0])
        return torch.linspace(-FAR, FAR, logits.shape[-1], device=logits.device).to(logits.dtype).expand_as(logits)

    hook = head.register_forward_hook(put_in)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(weight.device.type, enabled=False):
            ids = torch.arange(PROBE, device=weight.device)[None] % len(weight)
            hidden = model.base_model(input_ids=ids, use_cache=False)[0]  # (1, PROBE, width)
            logits = model(input_ids=ids, use_cache=False).logits[0]  # (PROBE, vocab)
    finally:
        hook.remove()
        model.train(was_training)
    if len(seen) != 1 or (seen[0] - hidden).abs().max() > ROUNDING * hidden.abs().max():
        return False
    wanted = torch.linspace(-FAR, FAR, logits.shape[-1], device=logits.device).to(weight.dtype)
    return bool(torch.equal(logits.to(weight.dtype), wanted.expand_as(logits)))
