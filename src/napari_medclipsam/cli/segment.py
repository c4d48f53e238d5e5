"""``medclipsam segment``: one input or many."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from tqdm import tqdm

from napari_medclipsam.cli import DONE, INTERRUPTED, REFUSED, UNEXPECTED, report_error
from napari_medclipsam.cli.outputs import DEFAULT_FOLDER, Job, expand_inputs, plan_jobs, require_apart
from napari_medclipsam.cli.progress import progress_bar, shown_on
from napari_medclipsam.cli.report import Report, write_csv
from napari_medclipsam.cli.segment_input import Models, Request, open_input, segment_opened
from napari_medclipsam.errors import MedclipsamError
from napari_medclipsam.files import require_writable
from napari_medclipsam.pipeline import PipelineOptions
from napari_medclipsam.prompting.text import parse_structures
from napari_medclipsam.saliency.pair import load_pair
from napari_medclipsam.wording import counted

CSV_NAME = "results.csv"
_CSV_EVERY_SECONDS = 10.0


def run(args: Namespace) -> int:
    """Segment every input; a failing one does not stop the others."""
    parse_structures(args.text)  # Refuse a bad text before the models load.
    results = (args.output, args.saliency, args.preview)
    require_apart(args.inputs, results)
    listing = expand_inputs(args.inputs, args.series, (*results, DEFAULT_FOLDER))
    if listing.note:
        print(f"medclipsam: {listing.note}", file=sys.stderr)
    inputs = listing.studies
    is_batch = len(inputs) > 1
    jobs = plan_jobs(inputs, is_batch, args.output, args.saliency, args.preview)
    request = Request(
        text=args.text,
        options=PipelineOptions(coarse=args.coarse),
        volume_index=args.volume_index,
        series_uid=args.series,
        window=args.window,
        plane=args.axis,
    )
    csv_path = (args.output or DEFAULT_FOLDER) / CSV_NAME if is_batch else None
    if csv_path is not None:
        require_writable(csv_path)
    return _Batch(request, cache(lambda: _models(args)), csv_path, args.json, args.debug).run(jobs)


def _models(args: Namespace) -> Models:
    if args.project is None:
        return load_pair(args.model, args.device, args.saliency_method)
    from napari_medclipsam.cli.project_models import load_project_models

    return load_project_models(args, required=True)


class _Batch:
    """Runs jobs one by one, tells of each, and keeps what is done when it is stopped."""

    def __init__(
        self, request: Request, models: Callable[[], Models], csv_path: Path | None, as_json: bool, debug: bool
    ) -> None:
        self._request, self._models = request, models
        self._csv_path, self._as_json, self._debug = csv_path, as_json, debug
        self._reports: list[Report] = []
        self._unexpected = False

    def run(self, jobs: Sequence[Job]) -> int:
        """Return the exit code."""
        try:
            self._run_all(jobs)
        except KeyboardInterrupt:
            self._save()
            kept = f"; their results are kept in {self._csv_path.parent}" if self._csv_path and self._reports else ""
            print(
                f"medclipsam: stopped; {len(self._reports)} of {counted(len(jobs), 'input')} done{kept}.",
                file=sys.stderr,
            )
            return INTERRUPTED
        self._save()
        n_failed = sum(r.failed for r in self._reports)
        if self._csv_path is not None:
            done = f"{len(jobs) - n_failed} of {counted(len(jobs), 'input')} done, {n_failed} failed"
            print(f"medclipsam: {done}; table: {self._csv_path}", file=sys.stderr)
        if self._unexpected:
            return UNEXPECTED
        return DONE if all(r.is_complete for r in self._reports) else REFUSED

    def _run_all(self, jobs: Sequence[Job]) -> None:
        saved = time.monotonic()
        with progress_bar(len(jobs), "inputs") if self._csv_path else progress_bar(0, "slices") as bar:
            for job in jobs:
                report = self._attempt(job, bar)
                self._reports.append(report)
                self._tell(report)
                if self._csv_path:
                    bar.update()
                if time.monotonic() - saved > _CSV_EVERY_SECONDS:
                    # A power cut in a long night costs the table at most these seconds.
                    self._save()
                    saved = time.monotonic()

    def _attempt(self, job: Job, bar: tqdm) -> Report:
        """Return the report of one input, whatever happens to it; without models nothing can be done at all."""
        progress = None if self._csv_path else shown_on(bar)
        try:
            opened = open_input(job, self._request)
        except Exception as error:
            return self._failed(job, error)
        with tqdm.external_write_mode(file=sys.stderr):
            models = self._models()
        try:
            return segment_opened(opened, self._request, models, progress)
        except Exception as error:
            return self._failed(job, error)

    def _failed(self, job: Job, error: Exception) -> Report:
        """Say why an input failed."""
        self._unexpected |= not isinstance(error, MedclipsamError)
        prefix = f"{job.found.path}: " if self._csv_path else ""
        with tqdm.external_write_mode(file=sys.stderr):
            message = report_error(error, self._debug, prefix)
        return Report(str(job.found.path), self._request.text, failed=True, message=message)

    def _tell(self, report: Report) -> None:
        """Print the report on standard output, and what a person must know on standard error."""
        with tqdm.external_write_mode(file=sys.stdout):
            if self._as_json:
                print(report.to_json(), flush=True)
            elif not report.failed:
                print(report.to_line(), flush=True)
            for sentence in (report.caution, report.message):
                if sentence and not report.failed:
                    print(f"medclipsam: {sentence}", file=sys.stderr)

    def _save(self) -> None:
        if self._csv_path is not None and self._reports:
            write_csv(self._reports, self._csv_path)
