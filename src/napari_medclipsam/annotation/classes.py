"""The structures that are being labelled: number, name and colour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from napari_medclipsam.errors import PromptError

#: Okabe and Ito's colours, told apart by colour-blind readers too. Black is left out: it can't be seen on an MRI.
#: Blue comes first, for saliency is drawn from purple to yellow, and the outline of a first class lies on it.
COLORS = ("#56B4E9", "#E69F00", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
MOST_LABELS = 255
_LONGEST_NAME = 300


@dataclass(frozen=True)
class StructureClass:
    """One kind of structure.

    Parameters
    ----------
    label : int
        Its value in the mask, from 1 to 255.
    name : str
        What the user calls it.
    color : str
        "#RRGGBB".
    shown : bool
        False while it is hidden in the viewer.
    prompts : tuple of str
        Other texts that it is asked for with, beside its name.
    """

    label: int
    name: str
    color: str
    shown: bool = True
    prompts: tuple[str, ...] = ()


class ClassTable:
    """The classes of a project, in the order of their labels. A label once used is not chosen for another class.

    Parameters
    ----------
    next_label : int
        The first that was never used.
    """

    def __init__(self, next_label: int = 1) -> None:
        self._classes: dict[int, StructureClass] = {}
        self._next_label = next_label

    @property
    def next_label(self) -> int:
        """The label that the next class gets."""
        return self._next_label

    def __iter__(self) -> Iterator[StructureClass]:
        return iter(self._classes[label] for label in sorted(self._classes))

    def __len__(self) -> int:
        return len(self._classes)

    def __contains__(self, label: int) -> bool:
        return label in self._classes

    def __getitem__(self, label: int) -> StructureClass:
        try:
            return self._classes[label]
        except KeyError:
            known = ", ".join(str(c.label) for c in self) or "none yet"
            raise PromptError(f"There is no class with label {label}; there are: {known}.") from None

    def add(
        self, name: str, label: int | None = None, color: str | None = None, prompts: Iterable[str] = ()
    ) -> StructureClass:
        """Add a class.

        Parameters
        ----------
        name : str
            Anything but an empty text.
        label : int, optional
            Its value in the mask; by default one that was never used.
        color : str, optional
            "#RRGGBB"; by default the next of `COLORS`.
        prompts : iterable of str
            Other texts that it is asked for with.

        Raises
        ------
        PromptError
            If the name is empty, or the label is in use or not from 1 to 255.
        """
        number = self._next_label if label is None else int(label)
        if not 1 <= number <= MOST_LABELS or number in self._classes:
            raise PromptError(
                f"The label {number} can't be used: it must be from 1 to {MOST_LABELS} and free. "
                "Continue in a new mask if this one has no labels left."
            )
        texts = tuple(_checked_name(text) for text in prompts)
        chosen = color or COLORS[(number - 1) % len(COLORS)]
        added = StructureClass(number, _checked_name(name), chosen, prompts=texts)
        self._classes[number] = added
        self._next_label = max(self._next_label, number + 1)
        return added

    def named(self, name: str) -> StructureClass | None:
        """Return the class of a name, or else of a prompt, whatever its case and spaces; None where there is none."""
        wanted = _folded(name)
        by_name = (c for c in self if _folded(c.name) == wanted)
        by_prompt = (c for c in self if wanted in map(_folded, c.prompts))
        return next(by_name, None) or next(by_prompt, None)

    def named_or_added(self, name: str) -> StructureClass:
        """Return the class of a name, added if there is none yet."""
        return self.named(name) or self.add(name)

    def rename(self, label: int, name: str) -> StructureClass:
        """Give a class another name."""
        return self._put(replace(self[label], name=_checked_name(name)))

    def reword(self, label: int, prompts: Iterable[str]) -> StructureClass:
        """Give a class other texts that it is asked for with.

        Raises
        ------
        PromptError
            If one is empty or too long, or stands for another class.
        """
        texts = tuple(dict.fromkeys(_checked_name(text) for text in prompts))
        for text in texts:
            owner = self.named(text)
            if owner is not None and owner.label != label:
                raise PromptError(f'"{text}" stands for the class "{owner.name}" already. Choose other words.')
        return self._put(replace(self[label], prompts=texts))

    def recolor(self, label: int, color: str) -> StructureClass:
        """Give a class another colour, "#RRGGBB"."""
        return self._put(replace(self[label], color=color))

    def show(self, label: int, shown: bool) -> StructureClass:
        """Show or hide a class."""
        return self._put(replace(self[label], shown=shown))

    def remove(self, label: int) -> None:
        """Remove a class; `Session.remove_class` first makes sure that nothing is labelled with it."""
        del self._classes[self[label].label]

    def _put(self, changed: StructureClass) -> StructureClass:
        self._classes[changed.label] = changed
        return changed


def _folded(name: str) -> str:
    return " ".join(name.casefold().split())


def _checked_name(name: str) -> str:
    cleaned = " ".join(name.split())
    if not 0 < len(cleaned) <= _LONGEST_NAME:
        raise PromptError(f"A class needs a name of 1 to {_LONGEST_NAME} characters; got {len(cleaned)}.")
    return cleaned
