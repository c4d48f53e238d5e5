"""Several phrasings of one question, side by side on one slice."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import ComparesTexts, SaliencyMap, TextGrounder
from napari_medclipsam.saliency.work import Work, watched


def compare(
    grounder: TextGrounder,
    image: Slice,
    texts: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[SaliencyMap]:
    """Return where each text is seen in a slice, in their order, with any model that takes text.

    Parameters
    ----------
    grounder : TextGrounder
        One that can compare is asked for all texts at once.
    image : Slice
        As the reader sees it.
    texts : sequence of str
        Phrasings.
    progress, cancelled : callable, optional
        Called with (steps done, steps in all); asked before each step, True ends the work.

    Raises
    ------
    PromptError
        If a text can't be used.
    SaliencyCancelled
        If it is cancelled.
    """
    asked = watched(grounder, progress, cancelled)
    if isinstance(asked, ComparesTexts):
        return asked.compare(image, texts)
    work, found = Work(progress, cancelled), []
    for done, text in enumerate(texts):
        work.step(done, len(texts))
        found.append(grounder.saliency(image, text))
    work.step(len(texts), len(texts))
    return found
