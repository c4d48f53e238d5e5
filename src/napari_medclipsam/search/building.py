"""Making what is missing in the index of a project, or out of date."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from napari_medclipsam.annotation.image import AnnotatedImage
from napari_medclipsam.annotation.places import SliceAt, bounding_part
from napari_medclipsam.annotation.requests import Cancelled
from napari_medclipsam.errors import ImageError, MedclipsamError, ModelError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import KnowsStructures, RegionEncoder
from napari_medclipsam.models.region_encoder import region_encoder_of
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.second import reading
from napari_medclipsam.projects.studies import Study, annotated, require_unchanged
from napari_medclipsam.search.rows import NO_OBJECT, CaseRows, Kind, Row, empty_row
from napari_medclipsam.search.store import Store
from napari_medclipsam.search.wanted import (
    WantedSlice,
    indexed_window,
    region_hash,
    slice_hash,
    wanted_of,
)

# As many slices are written at once: what is lost when the program is stopped, some seconds of work.
_BLOCK = 16
_NO_JOURNAL = 0
#: What `Indexed.was_other` says.
WAS_OTHER = "The index was of another version of the program or model, or of other images."


@dataclass(frozen=True)
class Indexed:
    """What became of one case.

    Parameters
    ----------
    case : str
    n_new : int
        Slices that were embedded now.
    was_other : bool
        There was an index of another version of the program or the model, or of another image: it was made anew.
    trouble : str
        Why it could not be indexed; "" where it could.
    """

    case: str
    n_new: int
    was_other: bool = False
    trouble: str = ""


def require_encoder(model: object) -> RegionEncoder:
    """Return what makes vectors of slices, regions and texts; raises `ModelError` where a model does not."""
    if (encoder := region_encoder_of(model)) is not None:
        return encoder
    name = getattr(model, "name", "that is loaded")
    raise ModelError(f"The model {name} can't search: it makes no vectors of regions. Use lite.")


def index_version(encoder: RegionEncoder) -> str:
    """Return what an index is made with: the version of the vectors, and that of presences where there are any."""
    if isinstance(encoder, KnowsStructures):
        return f"{encoder.version}+{encoder.presence_version}"
    return encoder.version


def out_of_date(project: Project, store: Store, version: str, cases: Iterable[str] | None = None) -> list[str]:
    """Return the cases whose vectors are missing or may not be those of what is there now; reads no journal.

    Parameters
    ----------
    project : Project
        May be open for reading only.
    store : Store
        Its index.
    version : str
        See `index_version`.
    cases : iterable of str, optional
        Of these; of all by default.
    """
    return [
        case
        for case in (project.studies if cases is None else cases)
        if _reason(store.read(case), project.study(case), version, _journal_bytes(project, case))
    ]


def n_to_look_at(project: Project, store: Store, version: str, cases: Iterable[str] | None = None) -> int:
    """Return how many slices `build` will tell of as done."""
    shapes = [project.study(case).grid.shape for case in out_of_date(project, store, version, cases)]
    return sum(1 if len(shape) == 2 else shape[0] for shape in shapes)


def _reason(rows: CaseRows | None, study: Study, version: str, journal_bytes: int) -> str:
    if rows is None:
        return "missing"
    if (rows.version, rows.image) != (version, study.sha256):
        return "other"
    return "" if rows.journal_bytes == journal_bytes else "older"


def _journal_bytes(project: Project, case: str) -> int:
    try:
        return (project.case_folder(case) / "journal.jsonl").stat().st_size
    except OSError:
        return _NO_JOURNAL


def build(
    project: Project,
    store: Store,
    encoder: RegionEncoder,
    cases: Iterable[str] | None = None,
    *,
    progress: Callable[[int], None] | None = None,
    cancelled: Cancelled | None = None,
) -> Iterator[Indexed]:
    """Bring cases up to date with their images and journals; yields how each ended.

    Only what has changed is embedded. It can be stopped at any time and goes on where it was; a case may be open
    meanwhile, what is done to it then counts the next time.

    Parameters
    ----------
    project : Project
        May be open for reading only.
    store : Store
        Its index.
    encoder : RegionEncoder
        Makes the vectors.
    cases : iterable of str, optional
        Which, see `out_of_date`; by default those, and files of cases that are gone are deleted.
    progress : callable, optional
        Called with the number of slices that were just done.
    cancelled : callable, optional
        Asked before each slice.
    """
    stops = cancelled or (lambda: False)
    if cases is None:
        for case in store.stamps().keys() - project.studies.keys():
            store.remove(case)
    for case in out_of_date(project, store, index_version(encoder)) if cases is None else cases:
        if stops():
            return
        try:
            yield _build_case(project, store, encoder, project.study(case), progress or (lambda n: None), stops)
        except MedclipsamError as error:
            yield Indexed(case, 0, trouble=str(error))


def _build_case(
    project: Project,
    store: Store,
    encoder: RegionEncoder,
    study: Study,
    progress: Callable[[int], None],
    stops: Cancelled,
) -> Indexed:
    before, version = store.read(study.case), index_version(encoder)
    # Before the journal is read: what is written meanwhile makes it longer, and the case comes again.
    size = _journal_bytes(project, study.case)
    replay = reading(project.case_folder(study.case), study.grid.shape)
    window, wanted = indexed_window(replay.window), wanted_of(replay.book, replay.at)
    was_other = _reason(before, study, version, size) == "other"
    known = {} if before is None or was_other else before.by_slice()
    todo = [one for one in wanted if not is_current(one, known.get(one.at, ()), study.sha256, window)]
    progress(len(wanted) - len(todo))
    image = _image(project, study) if todo else None
    for start in range(0, len(todo), _BLOCK):
        rows: list[Row] = []
        done: list[SliceAt] = []
        for one in todo[start : start + _BLOCK]:
            if stops():
                break
            assert image is not None  # there is something to do
            rows += rows_of(one, image, study.sha256, window, encoder, known.get(one.at, ()))
            done.append(one.at)
            progress(1)
        is_ct = image.looks_like == "CT" if image is not None else None
        store.put(study.case, version, study.sha256, done, rows, is_ct=is_ct)
        if len(done) < len(todo[start : start + _BLOCK]):
            return Indexed(study.case, start + len(done), was_other)
    everything = [one.at for one in wanted]
    store.put(study.case, version, study.sha256, (), (), journal_bytes=size, only=everything)
    return Indexed(study.case, len(todo), was_other)


def _image(project: Project, study: Study) -> AnnotatedImage:
    require_unchanged(study, project.folder)
    return annotated(study.grid.view(study.read(project.folder)))


def is_current(one: WantedSlice, known: Sequence[Row], image: str, window: str) -> bool:
    """Tell whether the rows of a slice are those that it should have."""
    of_slice = slice_hash(image, window, one.at)
    found = {row.made_from for row in known}
    if any(row.kind == Kind.EMPTY for row in known):
        return found == {of_slice}
    return found == {of_slice, *(region_hash(of_slice, mask) for mask in one.regions.values())}


def rows_of(
    one: WantedSlice,
    image: AnnotatedImage,
    image_hash: str,
    window: str,
    encoder: RegionEncoder,
    known: Sequence[Row] = (),
) -> list[Row]:
    """Return the rows of a slice; vectors that are known are not made again.

    Parameters
    ----------
    one : WantedSlice
        The slice.
    image : AnnotatedImage
        Where it is from.
    image_hash, window : str
        See `wanted.slice_hash`.
    encoder : RegionEncoder
        Makes the vectors.
    known : sequence of Row
        Of this slice, by the same encoder.
    """
    of_slice = slice_hash(image_hash, window, one.at)
    rows = [row for row in known if row.made_from == of_slice]
    try:
        pixels = image.slice_pixels(one.at, window)
        rows = rows or _rows_of_slice(one.at, pixels, image, of_slice, encoder)
    except ImageError:
        # Every pixel has the same value.
        n_structures = len(encoder.structures) if isinstance(encoder, KnowsStructures) else 0
        return [empty_row(one.at, of_slice, encoder.embed_text(["image"]).shape[1], n_structures)]
    names = {region_hash(of_slice, mask): key for key, mask in one.regions.items()}
    for row in known:
        if row.kind == Kind.REGION and row.made_from in names:
            rows.append(row._replace(key=names.pop(row.made_from)))
    if names:
        turn, masks = image.turn(one.at), [one.regions[key].unpacked() for key in names.values()]
        vectors = encoder.embed_regions(pixels, np.stack([turn.to_turned(mask) for mask in masks]))
        for (made_from, key), mask, vector in zip(names.items(), masks, vectors, strict=True):
            rows.append(Row(one.at, Kind.REGION, key, _box(mask), made_from, vector))
    return rows


def _rows_of_slice(
    at: SliceAt, pixels: Slice, image: AnnotatedImage, of_slice: bytes, encoder: RegionEncoder
) -> list[Row]:
    # With it comes torch, which a window does not wait for.
    from napari_medclipsam.models.lite.regions import parts_of

    height, width = image.shape_yx(at)
    vector, box = encoder.embed_image(pixels), (0, 0, width - 1, height - 1)
    presences: tuple[float, ...] = ()
    if isinstance(encoder, KnowsStructures):
        found = encoder.presences(pixels)
        presences = tuple(found[structure] for structure in encoder.structures)
    rows = [Row(at, Kind.SLICE, NO_OBJECT, box, of_slice, vector, presences)]
    parts = parts_of(pixels.pixels)
    turn = image.turn(at)
    for mask, vector in zip(parts, encoder.embed_regions(pixels, parts), strict=True):
        rows.append(Row(at, Kind.PART, NO_OBJECT, _box(turn.to_stored(mask)), of_slice, vector))
    return rows


def _box(mask_yx: np.ndarray) -> tuple[int, int, int, int]:
    part = bounding_part(mask_yx)
    assert part is not None  # no region is empty
    rows, columns = part
    return (columns.start, rows.start, columns.stop - 1, rows.stop - 1)
