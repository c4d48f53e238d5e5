"""De-identification of DICOM by the Basic Application Level Confidentiality Profile (DICOM PS3.15, Annex E).

Which attribute needs which action comes from the table of the dicom-anonymizer package, made from the standard. The
actions are done here, in every nested sequence too: see docs/adr/0008-de-identification.md.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from napari_medclipsam.errors import ImageError

#: The edition of the standard that the table is made from.
STANDARD = "2026c"
_DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000", "AS": "000Y", "UR": "http://removed.invalid"}
_TEXT = {"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"}
_NUMBERS = {"DS", "IS", "FD", "FL", "SS", "US", "SL", "UL", "SV", "UV"}
#: What a mixed action means: never less than the strictest image type needs, so that files stay valid.
_ACTIONS = {
    **{"D_TAGS": "dummy", "Z_TAGS": "empty", "X_TAGS": "remove", "U_TAGS": "uid"},
    **{"Z_D_TAGS": "dummy", "X_Z_TAGS": "empty", "X_D_TAGS": "dummy", "X_Z_D_TAGS": "dummy"},
    "X_Z_U_STAR_TAGS": "nested",
}


@dataclass
class Report:
    """What de-identification did: attributes and counts, never values.

    Parameters
    ----------
    files : int
        DICOM objects that were treated.
    removed, emptied, replaced, new_uids : collections.Counter
        How often, by the name of the attribute.
    private : int
        Private and unknown attributes that were removed.
    notes : list of str
        What a person must still check.
    """

    files: int = 0
    removed: Counter[str] = field(default_factory=Counter)
    emptied: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)
    new_uids: Counter[str] = field(default_factory=Counter)
    private: int = 0
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """Return the report as readable JSON."""
        from importlib.metadata import version

        told: dict[str, object] = {
            "profile": f"DICOM PS3.15 {STANDARD}, Annex E, Basic Application Level Confidentiality Profile",
            "table": f"dicom-anonymizer {version('dicom-anonymizer')}",
            "files": self.files,
            "private_attributes_removed": self.private,
        }
        for name in ("removed", "emptied", "replaced", "new_uids"):
            told[name] = dict(sorted(getattr(self, name).items()))
        return json.dumps({**told, "check": self.notes}, indent=1) + "\n"


class Deidentifier:
    """Takes the patient out of DICOM objects, the same way for all objects treated with the same key.

    Parameters
    ----------
    key : bytes, optional
        A secret of at least 16 bytes, which decides new UIDs and pseudonyms. Objects treated with one key keep
        referring to each other, at whatever time; by default a new random key, which is then forgotten.

    Raises
    ------
    ValueError
        If the key is too short to keep its secret.
    """

    def __init__(self, key: bytes | None = None) -> None:
        if key is not None and len(key) < 16:
            raise ValueError(f"the key has {len(key)} bytes, expected at least 16")
        self._key = key or secrets.token_bytes(32)
        self.report = Report()

    def pseudonym(self, identity: str) -> str:
        """Return a name for an identity, such as "anon-3F2A90B1C4", that can't be traced back without the key."""
        return f"anon-{self._digest('name', identity)[:10].upper()}"

    def uid(self, uid: str) -> str:
        """Return the new UID of a UID."""
        return f"2.25.{int(self._digest('uid', uid)[:32], 16)}"

    def _digest(self, purpose: str, text: str) -> str:
        return hmac.new(self._key, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()

    def apply(self, dataset: Any) -> None:
        """De-identify a DICOM object in place, file meta information included; pixels are left as they are.

        Raises
        ------
        ImageError
            If the object says that text is burned into its pixels, which this does not clean.
        """
        if str(dataset.get("BurnedInAnnotation") or "").upper() == "YES":
            raise ImageError(
                "The image says that text is burned into its pixels (Burned In Annotation is YES), and only tags are "
                "de-identified here. Have the pixels cleaned first."
            )
        if not dataset.get("BurnedInAnnotation"):
            self._note("The images do not say whether text is burned into their pixels. Look at them.")
        if dataset.get("Modality") in ("CT", "MR", "PT"):
            self._note("Where the head is in the images, a face can be rebuilt from them. Deface them if it is.")
        identity = f"{dataset.get('PatientID') or ''}|{dataset.get('PatientName') or ''}"
        self._clean(dataset)
        name = self.pseudonym(identity)
        dataset.PatientName = dataset.PatientID = name
        _mark(dataset)
        _new_file_meta(dataset)
        self.report.files += 1

    def _note(self, text: str) -> None:
        if text not in self.report.notes:
            self.report.notes.append(text)

    def _clean(self, dataset: Any) -> None:
        from pydicom.datadict import dictionary_has_tag

        for element in list(dataset):
            tag = element.tag
            action = _action_of(tag)
            if tag.is_private or not (action or dictionary_has_tag(tag)):
                del dataset[tag]
                self.report.private += 1
            elif action == "remove":
                del dataset[tag]
                self.report.removed[_name(element)] += 1
            elif action == "uid":
                self._replace_uid(element)
            elif action in ("empty", "dummy"):
                self._blank(dataset, element, action)
            elif element.VR == "SQ":
                for item in element.value:
                    self._clean(item)

    def _replace_uid(self, element: Any) -> None:
        if not element.value:
            return
        many = element.VM > 1
        element.value = [self.uid(uid) for uid in element.value] if many else self.uid(element.value)
        self.report.new_uids[_name(element)] += 1

    def _blank(self, dataset: Any, element: Any, action: str) -> None:
        """Empty an element, or fill it with a dummy where it must not be empty; sequences are emptied."""
        if element.is_empty:
            return
        if action == "empty" or element.VR == "SQ":
            element.value = [] if element.VR == "SQ" else None
            self.report.emptied[_name(element)] += 1
        elif element.VR in _DUMMIES:
            element.value = _DUMMIES[element.VR]
            self.report.replaced[_name(element)] += 1
        elif element.VR in _TEXT or element.VR in _NUMBERS:
            element.value = "REMOVED" if element.VR in _TEXT else 0
            self.report.replaced[_name(element)] += 1
        else:
            del dataset[element.tag]
            self.report.removed[_name(element)] += 1


def _name(element: Any) -> str:
    return element.keyword or str(element.tag)


def _mark(dataset: Any) -> None:
    """Say in the object that it is de-identified, and how."""
    from pydicom.dataset import Dataset

    profile = Dataset()
    profile.CodeValue, profile.CodingSchemeDesignator = "113100", "DCM"
    profile.CodeMeaning = "Basic Application Confidentiality Profile"
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = f"DICOM PS3.15 {STANDARD} Annex E Basic Profile"
    dataset.DeidentificationMethodCodeSequence = [profile]
    dataset.LongitudinalTemporalInformationModified = "REMOVED"


def _new_file_meta(dataset: Any) -> None:
    """Keep only what is needed to read the file: the rest names machines that it passed through."""
    from pydicom.dataset import FileMetaDataset

    meta = FileMetaDataset()
    old = getattr(dataset, "file_meta", None) or FileMetaDataset()
    if "TransferSyntaxUID" in old:
        meta.TransferSyntaxUID = old.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID")
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID")
    dataset.file_meta = meta
    # The 128 bytes before the header may hold anything.
    dataset.preamble = b"\0" * 128


@cache
def _table() -> dict[tuple[int, int], str]:
    """Return tag to action, without the repeating groups."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    table = dicom_anonymization_database_selector(f"dicomfields_{STANDARD}")
    return {tag: action for kind, action in _ACTIONS.items() for tag in table[kind] if len(tag) == 2}


def _action_of(tag: Any) -> str | None:
    # Curves and overlays: the profile removes their data, and what describes the data is then void.
    if tag.group & 0xFF00 in (0x5000, 0x6000):
        return "remove"
    return _table().get((tag.group, tag.element))
