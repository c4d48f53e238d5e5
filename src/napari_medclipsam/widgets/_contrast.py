"""The intensity window of an image: the models see what the reader sees."""

from __future__ import annotations

from collections.abc import Callable

from napari.layers import Image

from napari_medclipsam.annotation.session import Session
from napari_medclipsam.errors import PromptError
from napari_medclipsam.images.intensity import Window


class Contrast:
    """Keeps the window of a session and the contrast limits of its layer the same.

    Parameters
    ----------
    changed : callable
        Called when another window has been chosen, here or in the viewer.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._image: Image | None = None
        self._session: Session | None = None
        self._own_change = False

    def bind(self, image: Image, session: Session) -> None:
        """Go over to another image."""
        self.unbind()
        self._image, self._session = image, session
        image.events.contrast_limits.connect(self._on_limits)

    def unbind(self) -> None:
        """Let go of the image."""
        if self._image is not None:
            self._image.events.contrast_limits.disconnect(self._on_limits)
        self._image = self._session = None

    def set(self, window: Window) -> None:
        """Show the image with a window.

        Raises
        ------
        PromptError
            If it has colours.
        """
        image, session = self._image, self._session
        assert image is not None and session is not None  # the workspace has asked for a session
        if image.rgb:
            raise PromptError("A colour image has no intensity window.")
        limits = session.image.limits(window)
        self._own_change = True
        try:
            image.contrast_limits = limits
        finally:
            self._own_change = False
        session.window = window
        self._changed()

    def _on_limits(self) -> None:
        if self._image is not None and self._session is not None and not self._own_change:
            low, high = (float(end) for end in self._image.contrast_limits)
            self._session.window = (low, high)
            self._changed()
