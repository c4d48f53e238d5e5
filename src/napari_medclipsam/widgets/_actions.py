"""What the user can do, each with its key: one table for buttons, key bindings and the cheat sheet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """One verb.

    Parameters
    ----------
    verb : str
        The method of `Workspace` that does it.
    key : str
        As napari writes it, such as "Shift-U". All are free in napari; a layer's own keys are not touched.
    label : str
        On the button.
    tip : str
        A sentence for the tooltip and the cheat sheet.
    icon : str
        A file of the folder ``icons``, without suffix; "" where the label itself has an arrow.
    """

    verb: str
    key: str
    label: str
    tip: str
    icon: str = ""

    @property
    def tooltip(self) -> str:
        """The sentence and the key."""
        return f"{self.tip} Key: {shown_key(self.key)}"


SLICE_ACTIONS = (
    Action("accept", "G", "Accept", "Take the proposals of this slice into the mask.", "accept"),
    Action(
        "reject", "J", "Reject", "Throw the proposals of this slice and their prompts away; the mask stays.", "reject"
    ),
    Action("clear", "K", "Clear", "Remove the current object from this slice: prompts, proposal and mask.", "clear"),
    Action("next_object", "W", "Object ▸", "Go on with the next object of this or another class."),
    Action("undo", "U", "Undo", "Take the last step back.", "undo"),
    Action("redo", "Shift-U", "Redo", "Do again what was undone last.", "redo"),
    Action("previous_slice", "Q", "◂ Slice", "Go back to the nearest slice that still needs work."),
    Action("next_slice", "N", "Slice ▸", "Go to the next slice that still needs work."),
)
VIEW_ACTIONS = (
    Action("toggle_saliency", "H", "Saliency", "Show or hide where the model sees the words.", "saliency"),
    Action("toggle_mask", "0", "Mask", "Show or hide masks and proposals.", "mask"),
)
STACK_ACTIONS = (
    Action(
        "propagate",
        "8",
        "Propagate",
        "Carry the accepted object of this slice to the slices on both sides.",
        "propagate",
    ),
    Action("whole_volume", "9", "Whole volume", "Look for the text in every slice of the range.", "whole_volume"),
    Action(
        "accept_all",
        "Shift-G",
        "Accept all",
        "Take the proposals of all slices of the range into the mask.",
        "accept_all",
    ),
    Action("reject_all", "Shift-J", "Reject all", "Throw the proposals of all slices of the range away.", "reject_all"),
)
PROJECT_ACTIONS = (
    Action(
        "toggle_flag",
        "Shift-F",
        "Flag",
        "Flag this slice of a project to come back to it, or take the flag away.",
        "flag",
    ),
)
QUEUE_ACTIONS = (
    Action(
        "accept_and_next",
        ".",
        "Accept, next in queue",
        "Accept this slice of a project and go to the one that needs you most, wherever it is.",
        "accept_next",
    ),
    Action(
        "next_in_queue",
        ",",
        "Next",
        "Leave this slice as it is and go to the one of the project that needs you most.",
        "next",
    ),
)
ACTIONS = SLICE_ACTIONS + VIEW_ACTIONS + STACK_ACTIONS + PROJECT_ACTIONS + QUEUE_ACTIONS

#: Further lines of the cheat sheet: what the mouse and napari's own keys do here.
MOUSE = (
    ("Click, tool Point", "the object is here"),
    ("Ctrl or Shift + click", "the object is not here"),
    ("Drag, tool Box", "the object is inside"),
    ("Drag, tool Move", "move or resize a prompt; the mask follows"),
    ("Delete", "remove the selected prompts"),
    ("Space + drag", "move the image, whatever the tool"),
    ("Ctrl + wheel", "scroll through the slices"),
    ("Ctrl-Z, Ctrl-Shift-Z", "undo and redo while painting"),
)


_SPELT = {".": ". (full stop)", ",": ", (comma)"}


def shown_key(key: str) -> str:
    """Return a key as people read it."""
    return _SPELT.get(key, key.replace("-", "+"))
