"""What the project page does in a thread: no Qt here, and nothing that belongs to the window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from napari_medclipsam.errors import MedclipsamError
from napari_medclipsam.images.folders import Found
from napari_medclipsam.napari_io import LayerData, view_layer
from napari_medclipsam.projects.case import Case
from napari_medclipsam.projects.exchanging import Format, export_project, labelled_cases, unlabelled_words
from napari_medclipsam.projects.progress import StudyRow, study_row
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.queue import ReviewQueue
from napari_medclipsam.projects.scan_request import ScanRequest
from napari_medclipsam.projects.studies import Study, images_in
from napari_medclipsam.projects.summary import Summary, case_summary
from napari_medclipsam.wording import counted

Tell = Callable[[str, int, int], None]
Rows = dict[str, StudyRow]


@dataclass
class Added:
    """What became of images that were to be added."""

    rows: Rows
    n_known: int
    refused: list[str]
    left_out: list[str]

    @property
    def sentence(self) -> str:
        """For the reader."""
        known = f", {self.n_known} were there already" if self.n_known else ""
        refused = f", {len(self.refused)} refused: {self.refused[0]}" if self.refused else ""
        return " ".join([f"{len(self.rows)} added{known}{refused}.", *self.left_out])


def opened(open_project: Callable[[], Project], tell: Tell) -> tuple[Project, Rows, ReviewQueue]:
    """Open a project, look at all its studies, and rank their slices."""
    project = open_project()
    try:
        rows: Rows = {}
        summaries: dict[str, Summary] = {}
        for n, case in enumerate(project.studies):
            tell(f"Looking at {case} …", n, len(project.studies))
            summaries[case] = project.summary(case)
            rows[case] = study_row(project, case, summary=summaries[case])
        return project, rows, ranked(ReviewQueue.of(project, summaries))
    except BaseException:
        project.close()
        raise


def added(project: Project, paths: Sequence[Path], copy: bool, tell: Tell) -> Added:
    """Add the images of files and folders; what was added before a stop is kept."""
    result = Added({}, 0, [], [])
    images: list[Found] = []
    for path in paths:
        tell(f"Looking into {path.name} …", 0, 0)
        try:
            images += images_in(path, result.left_out.append)
        except MedclipsamError as error:
            result.refused.append(str(error))
    before = set(project.studies)
    new: list[str] = []
    with closing(project.add(images, copy=copy)) as adding:
        for n, (found, study) in enumerate(adding):
            if not isinstance(study, Study):
                result.refused.append(str(study))
            elif study.case in before:
                result.n_known += 1
            else:
                new.append(study.case)
            tell(f"Adding {found.path.name} …", n + 1, len(images))
    # A study that comes twice in one go is one study.
    result.rows = {case: study_row(project, case) for case in dict.fromkeys(new)}
    return result


def ranked(queue: ReviewQueue, label: int | None = None) -> ReviewQueue:
    """Have a queue rank its slices now, here: in the window it then answers at once."""
    queue.items(1, label=label)
    return queue


def ranked_anew(queue: ReviewQueue, project: Project, cases: Iterable[str], label: int | None) -> ReviewQueue:
    """Return a queue with cases that were worked on or are new, from the disk, ranked for a class and for all."""
    summaries = {case: case_summary(project.case_folder(case), project.study(case).grid.shape) for case in cases}
    return ranked(ranked(queue.renewed(project, summaries)), label)


def opened_case(
    project: Project, case_id: str, second: bool, scan: ScanRequest | None = None
) -> tuple[Case, LayerData]:
    """Open a case, or its second reading, after a scan has let it go, and make its image ready to be shown."""
    if scan is not None:
        scan.leave_to_reader(case_id)
    case = project.open_case(case_id, second=second)
    try:
        return case, view_layer((case.view,), f"{case_id}, second reading" if second else case_id)
    except BaseException:
        case.close()
        raise


def closed(project: Project, scan: ScanRequest | None) -> None:
    """Close a project, after a scan has ended."""
    if scan is not None:
        scan.end()
    project.close()


def exported(project: Project, form: Format, output: Path, cases: Sequence[str], deidentify: bool, tell: Tell) -> str:
    """Export cases, all that are labelled where none is named; returns what to tell the reader."""
    chosen = cases or labelled_cases(project)
    refused: list[str] = []
    n_done = 0

    def told(case: str, error: MedclipsamError | None) -> None:
        nonlocal n_done
        n_done += 1
        if error is not None:
            refused.append(f"{case}: {error}")
        tell(f"Exporting {case} …", n_done, len(chosen))

    export_project(project, form, output, chosen, told, deidentify=deidentify)
    left_out = f", {len(refused)} refused: {refused[0]}" if refused else ""
    others = "" if cases else unlabelled_words(len(project.studies) - len(chosen))
    return f"Exported {counted(len(chosen) - len(refused), 'case')} to {output}{left_out}{others}."
