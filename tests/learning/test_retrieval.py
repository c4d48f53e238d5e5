"""Recall at k where captions are shared."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medclipsam.learning.retrieval import IMAGE_TO_TEXT, TEXT_TO_IMAGE, chance, hits, recalls

TOPICS = ["a", "b", "a", "c", "d", "e", "f", "d", "g"]


def unit(rng, n, d=6):
    found = rng.normal(size=(n, d))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_against_a_plain_ranking():
    rng = np.random.default_rng(0)
    images, by_topic = unit(rng, len(TOPICS)), dict(zip("abcdefg", unit(rng, 7), strict=True))
    found = hits(images, np.array([by_topic[t] for t in TOPICS]), TOPICS)
    for i, topic in enumerate(TOPICS):
        texts = sorted(by_topic, key=lambda t: -float(images[i] @ by_topic[t]))
        pictures = sorted(range(len(TOPICS)), key=lambda j: -float(images[j] @ by_topic[topic]))
        for k in (1, 5):
            assert found[IMAGE_TO_TEXT, k][i] == (topic in texts[:k])
            assert found[TEXT_TO_IMAGE, k][i] == (topic in [TOPICS[j] for j in pictures[:k]])
    assert (IMAGE_TO_TEXT, 10) not in found  # Among seven captions everything is in the first ten.


def test_one_vector_for_everything_finds_nothing():
    same = np.ones((len(TOPICS), 1))
    assert not any(found.any() for found in hits(same, same, TOPICS).values())


def test_chance_is_what_guessing_reaches():
    rng = np.random.default_rng(1)
    guessed: dict = {}
    for _ in range(600):
        by_topic = dict(zip("abcdefg", unit(rng, 7), strict=True))
        figures = recalls(unit(rng, len(TOPICS)), np.array([by_topic[t] for t in TOPICS]), TOPICS)
        for key, value in figures.items():
            guessed.setdefault(key, []).append(value)
    for key, expected in chance(TOPICS).items():
        assert np.mean(guessed[key]) == pytest.approx(expected, abs=0.04)
