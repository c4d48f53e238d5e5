"""LeGrad (Bousselham et al. 2025, arXiv 2404.03214): the gradient of the similarity with respect to attention.

The one method here that is fast enough to follow the reader: one forward pass and a backward pass of a few tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medclipsam.saliency.tower import Tower, kept_runs, replaced_output
from napari_medclipsam.saliency.work import Work

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LeGradSettings:
    """The paper's formula.

    Parameters
    ----------
    n_blocks : int, optional
        How many of the last blocks are read; all of them by default, as in the paper.
    """

    n_blocks: int | None = None


class LeGrad:
    """How much more attention to each patch would make the image fit the text, averaged over blocks and heads.

    For each block the image is read as if that block were the last: s = cos(read(tokens after the block), text). The
    map is the mean over blocks, heads and reading tokens of the positive part of ds/dA, where A is the block's own
    attention; a block's gradient does not go into the blocks before it. Since s depends on A through A @ values alone,
    ds/dA is the gradient of s at the heads' output times the values: no attention matrix is formed, and in a network
    that reads its class token alone, only that token goes through each block a second time.

    The image is read as the network reads it (class token or mean); the authors' code takes the mean always.

    Parameters
    ----------
    tower : Tower
        The image tower.
    settings : LeGradSettings, optional
        All blocks by default.

    Raises
    ------
    ModelError
        If the tower lacks an attention with values and an output projection.
    """

    def __init__(self, tower: Tower, settings: LeGradSettings | None = None) -> None:
        n_blocks = len(tower.blocks)
        wanted = (settings or LeGradSettings()).n_blocks or n_blocks
        self._tower = tower
        self._indices = range(max(0, n_blocks - wanted), n_blocks)
        for index in self._indices:
            tower.attention_weights(index)

    def maps(self, pixels: torch.Tensor, texts: torch.Tensor, work: Work) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a map for each text, and the image's vector; see ``GradCam.maps``."""
        import torch

        work.step(0, 1)
        tower = self._tower
        attentions = [tower.attention(index) for index in self._indices]
        blocks = [tower.blocks[index] for index in self._indices]
        with torch.no_grad(), kept_runs(attentions) as inside, kept_runs(blocks) as whole:
            vector = tower.encode(pixels)[0]
        total = torch.zeros(len(texts), whole[0][0].shape[1], device=vector.device)
        for index, (seen, answer), (tokens, _) in zip(self._indices, inside, whole, strict=True):
            total += self._block_map(index, tokens, seen, answer, texts)
        work.step(1, 1)
        return tower.on_grid(total / len(blocks)), vector

    def _block_map(
        self, index: int, tokens: torch.Tensor, seen: torch.Tensor, answer: torch.Tensor, texts: torch.Tensor
    ) -> torch.Tensor:
        """Return the map of one block over all tokens, (n, tokens).

        `tokens` go into the block, `seen` into its attention, and `answer` comes out of that.
        """
        import torch
        from torch.nn import functional

        tower = self._tower
        reading = slice(0, 1) if tower.reads_class_token else slice(None)
        leaf = answer[:, reading].detach().float().requires_grad_(True)
        with torch.enable_grad():
            with replaced_output(tower.attention(index), leaf), tower.mixed_precision():
                after = tower.blocks[index](tokens[:, reading])
            vector = tower.read(after)[0]
            gradients = [torch.autograd.grad(text @ vector, leaf, retain_graph=True)[0][0] for text in texts]
        weights = tower.attention_weights(index)
        heads = (weights.n_heads, -1)
        at_heads = (torch.stack(gradients) @ weights.output.float()).unflatten(-1, heads)
        bias = None if weights.value_bias is None else weights.value_bias.float()
        values = functional.linear(seen[0].float(), weights.value.float(), bias).unflatten(-1, heads)
        return torch.einsum("nqhd,thd->nhqt", at_heads, values).clamp(min=0).mean(dim=(1, 2))
