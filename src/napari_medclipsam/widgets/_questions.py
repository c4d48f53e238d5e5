"""What the project page asks the reader. Each function is one question and returns the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from qtpy.QtWidgets import QFileDialog, QInputDialog, QMessageBox, QWidget

from napari_medclipsam.wording import counted

_IMAGES = "Images (*.nii *.nii.gz *.png *.jpg *.jpeg *.tif *.tiff *.dcm);;All files (*)"
_MASKS = "Masks (*.nii *.nii.gz *.png *.tif *.tiff *.dcm);;All files (*)"


def reader_name(parent: QWidget, suggestion: str) -> str:
    """Ask for the name that goes into every record; "" for none."""
    name, agreed = QInputDialog.getText(
        parent, "Who reads?", "Your name or initials; kept in every record of what you do:", text=suggestion
    )
    return " ".join(name.split()) if agreed else ""


def new_folder(parent: QWidget) -> Path | None:
    """Ask where a new project goes."""
    path, _ = QFileDialog.getSaveFileName(parent, "New project: name its folder", str(Path.home() / "project"))
    return Path(path) if path else None


def folder(parent: QWidget, title: str) -> Path | None:
    """Ask for a folder that is there."""
    path = QFileDialog.getExistingDirectory(parent, title)
    return Path(path) if path else None


def image_files(parent: QWidget) -> list[Path]:
    """Ask for images."""
    paths, _ = QFileDialog.getOpenFileNames(parent, "Add images", "", _IMAGES)
    return [Path(path) for path in paths]


def image_of(parent: QWidget, case: str, kind: str) -> Path | None:
    """Ask where the image of a case is now."""
    title = f"Where is the image of {case}?"
    if kind == "dicom":
        return folder(parent, title)
    path, _ = QFileDialog.getOpenFileName(parent, title, "", _IMAGES)
    return Path(path) if path else None


def caption_table(parent: QWidget, start: Path) -> Path | None:
    """Ask for a table of images and captions."""
    title = "Images and captions: a table with the columns image and caption"
    path, _ = QFileDialog.getOpenFileName(parent, title, str(start), "Tables (*.csv);;All files (*)")
    return Path(path) if path else None


def mask_file(parent: QWidget) -> Path | None:
    """Ask for a mask to import."""
    path, _ = QFileDialog.getOpenFileName(parent, "Import a mask", "", _MASKS)
    return Path(path) if path else None


def choose(parent: QWidget, title: str, text: str, choices: list[str]) -> str | None:
    """Ask to choose one of several; None for Cancel."""
    box = QMessageBox(QMessageBox.Icon.Question, title, text, parent=parent)
    buttons = {box.addButton(choice, QMessageBox.ButtonRole.AcceptRole): choice for choice in choices}
    box.setEscapeButton(box.addButton(QMessageBox.StandardButton.Cancel))
    box.exec()
    clicked = box.clickedButton()
    return next((choice for button, choice in buttons.items() if button is clicked), None)


def source_moved(parent: QWidget, case: str, path: Path) -> bool:
    """Say that an image is gone; True: the reader wants to say where it is."""
    text = (
        f"The image of {case} is not at {path} any more.\n\nIf it was moved, say where it is now; its masks are kept."
    )
    return choose(parent, "Image not found", text, ["Find it …"]) is not None


def source_changed(parent: QWidget, case: str, path: Path) -> Literal["accept", "find"] | None:
    """Say that an image is not what was labelled, and ask what to do."""
    text = (
        f"The image of {case} at {path} is not the one that was added: its content differs.\n\n"
        "Accept it only if the masks still hold for it. Its geometry must be the same in any case."
    )
    answer = choose(parent, "Image has changed", text, ["Accept the change", "Find another …"])
    return None if answer is None else "accept" if answer == "Accept the change" else "find"


def not_saved(parent: QWidget, reason: str, n_steps: int, *, may_lose: bool) -> Literal["again", "lose"] | None:
    """Say that something is not on the disk; None: stay where we are."""
    text = f"Not on the disk yet: {counted(n_steps, 'step')}.\n\n{reason}"
    answer = choose(parent, "Not saved", text, ["Try again", *(["Lose these steps"] if may_lose else [])])
    return None if answer is None else "again" if answer == "Try again" else "lose"


def rename_everywhere(parent: QWidget, old: str, new: str, use: str) -> bool:
    """Ask whether a class that is in use gets another name in all cases."""
    text = f'The class "{old}" has masks or prompts in {use}.\n\nRename it to "{new}" in all of them?'
    return choose(parent, "Rename a class", text, ["Rename"]) is not None


def class_words(parent: QWidget, name: str, words: tuple[str, ...]) -> list[str] | None:
    """Ask for the texts that a class is asked for with, beside its name; None for no change."""
    text, agreed = QInputDialog.getMultiLineText(
        parent,
        "Words for a class",
        f'Other words for "{name}", one a line. What is found by them becomes this class;\n'
        "a scan of the project asks for the first of them.",
        "\n".join(words),
    )
    return [line for line in text.splitlines() if line.strip()] if agreed else None


def hide_instead(parent: QWidget, reason: str) -> bool:
    """Say why a class can't be removed; True: hide it."""
    return choose(parent, "Remove a class", reason, ["Hide it"]) is not None


def delete_version(parent: QWidget, name: str, size_bytes: int) -> bool:
    """Ask whether a version of a model goes for good."""
    text = f"Delete {name} ({size_bytes / 1e6:.1f} MB) from the disk?\n\nIt can't be brought back."
    return choose(parent, "Delete a version", text, ["Delete"]) is not None


def resample(parent: QWidget, reason: str) -> bool:
    """Say why a mask does not fit; True: take the nearest voxels."""
    text = f"{reason}\n\nResampling gives each voxel of the image the label of the nearest voxel of the mask."
    return choose(parent, "The mask does not fit", text, ["Resample"]) is not None


def accept_import(parent: QWidget, name: str) -> bool | None:
    """Ask how a mask is taken in: True as accepted, False as proposals, None not at all."""
    text = f"Take {name} into this case as proposals, to be looked at, or as accepted?"
    answer = choose(parent, "Import a mask", text, ["As proposals", "As accepted"])
    return None if answer is None else answer == "As accepted"
