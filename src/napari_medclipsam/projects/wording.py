"""The review queue's reasons in words."""

from __future__ import annotations

from dataclasses import dataclass

from napari_medclipsam.projects.review import DICE, DISAGREEMENT, ENTROPY, MASK, NO_MASK, PRESENCE
from napari_medclipsam.projects.signals import ClassSignals


@dataclass(frozen=True)
class Told:
    """The figures of one class in one slice, in hundredths; −1 where there is none."""

    presence: int
    entropy: int
    disagreement: int
    dice_before: int
    dice_after: int
    usual_dice: float
    has_mask: bool
    is_accepted: bool

    @classmethod
    def of(cls, signals: ClassSignals, place: int, is_accepted: bool) -> Told:
        """Return those of a slice."""
        row = signals.table[:, place]
        return cls(
            int(row[PRESENCE]),
            int(row[ENTROPY]),
            int(row[DISAGREEMENT]),
            int(row[DICE]),
            int(signals.dice_after[place]),
            float(signals.usual_dice[place]),
            bool(row[MASK] != NO_MASK),
            is_accepted,
        )

    @property
    def is_known(self) -> bool:
        """True where a model or a reader said something of the slice."""
        return self.presence >= 0 or self.has_mask


def reason_words(reason: str, told: Told | None) -> str:
    """Return why a slice needs a reader; `told` is needed for all reasons but "diversity"."""
    if told is None:
        return "looks unlike the slices that are labelled so far"
    match reason:
        case "presence":
            return _presence_words(told)
        case "neighbours":
            return (
                "the mask is in this slice alone, the slices on both sides have none"
                if told.has_mask
                else "no mask here, but in the slices on both sides"
            )
        case "jump":
            return _jump_words(told)
        case "disagreement":
            return f"map and mask differ: Dice {_share(100 - told.disagreement)}"
    return f"the model is unsure of the outline: entropy {_share(told.entropy)}"


def _presence_words(told: Told) -> str:
    if told.has_mask:
        kind = "accepted" if told.is_accepted else "proposed"
        return f"a mask is {kind}, but the text is not found here ({_share(told.presence)})"
    return f"the text is found here ({_share(told.presence)}), but no mask was " + (
        "accepted" if told.is_accepted else "made"
    )


def _jump_words(told: Told) -> str:
    known = [(d, where) for d, where in ((told.dice_before, "before"), (told.dice_after, "after")) if d >= 0]
    dice, where = min(known, key=lambda one: one[0])
    return f"mask jumps from the slice {where}: Dice {_share(dice)} (usually {_share(round(told.usual_dice))})"


def _share(hundredths: float) -> str:
    return f"{hundredths / 100:.2f}"
