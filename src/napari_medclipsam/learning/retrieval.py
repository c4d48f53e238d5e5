"""Does the caption find its image, and the image its caption? Recall among pairs that were not learnt from.

Many images share a caption, so a hit is any that has the same caption: an image looks for its caption among all
different ones, a caption for an image among all, of which each with this very caption counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

RANKS = (1, 5, 10)
IMAGE_TO_TEXT, TEXT_TO_IMAGE = "image to text", "text to image"


def hits(images: np.ndarray, texts: np.ndarray, topics: Sequence[str]) -> dict[tuple[str, int], np.ndarray]:
    """Return for each pair whether it is found among the first few.

    Parameters
    ----------
    images, texts : numpy.ndarray
        Unit vectors (n, d) of images, and of the caption of each.
    topics : sequence of str
        n; pairs that share one share the caption.

    Returns
    -------
    dict
        (direction, k) → bool (n,); without those k that everything would be among the first of.
    """
    names, first, which = np.unique(np.asarray(topics), return_index=True, return_inverse=True)
    similarity = images @ texts[first].T
    n, n_topics = similarity.shape
    # Ties count against the pair, or an encoder that gives one vector for everything would be perfect.
    own = similarity[np.arange(n), which]
    text_rank = (similarity >= own[:, None]).sum(axis=1)
    of_topic = which[:, None] == np.arange(n_topics)
    best = np.where(of_topic, similarity, -np.inf).max(axis=0)
    image_rank = 1 + ((similarity >= best) & ~of_topic).sum(axis=0)
    found = {(IMAGE_TO_TEXT, k): text_rank <= k for k in RANKS if k == 1 or k < len(names)}
    return found | {(TEXT_TO_IMAGE, k): (image_rank <= k)[which] for k in RANKS if k == 1 or k < n}


def recalls(images: np.ndarray, texts: np.ndarray, topics: Sequence[str]) -> dict[tuple[str, int], float]:
    """Return the share of pairs (image to text) or of captions (text to image) that find theirs; see `hits`."""
    _, first = np.unique(np.asarray(topics), return_index=True)
    return {
        (way, k): float((found[first] if way == TEXT_TO_IMAGE else found).mean())
        for (way, k), found in hits(images, texts, topics).items()
    }


def chance(topics: Sequence[str]) -> Mapping[tuple[str, int], float]:
    """Return the recall of guessing: images and captions in any order, computed exactly."""
    _, counts = np.unique(np.asarray(topics), return_counts=True)
    n, n_topics = len(topics), len(counts)
    found = {(IMAGE_TO_TEXT, k): k / n_topics for k in RANKS if k == 1 or k < n_topics}
    for k in (k for k in RANKS if k == 1 or k < n):
        # None of k images drawn has the caption: a product of shares that are left.
        missed = [np.prod([(n - c - i) / (n - i) for i in range(k)]).clip(0) for c in counts]
        found[TEXT_TO_IMAGE, k] = float(1 - np.mean(missed))
    return found
