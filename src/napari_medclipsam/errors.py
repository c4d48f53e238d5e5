"""What the user is told when something can't be done.

Every message is one or two plain sentences: what was got, what was expected, and the remedy. The command line
prints the message alone and exits with a non-zero code; the traceback is shown only under ``--debug``.
"""

from __future__ import annotations


class MedclipsamError(Exception):
    """Base of every error this package raises on purpose; its text is fit to show to a clinician."""


class ImageError(MedclipsamError):
    """An image or mask can't be read, or its voxels can't be used."""


class GeometryError(MedclipsamError):
    """Two grids do not match, or an affine is not usable. Geometry is never guessed."""


class ModelError(MedclipsamError):
    """A model is unknown, not installed, damaged, or does not fit this machine."""


class PromptError(MedclipsamError):
    """A text, point or box can't be used."""


class OutputError(MedclipsamError):
    """A result can't be written; nothing half-written is left behind."""


class ProjectError(MedclipsamError):
    """A project can't be opened or changed, or what is in it is damaged or from a newer version."""


class LearningError(MedclipsamError):
    """There is too little to learn from, or what was learnt before is damaged or gone."""
