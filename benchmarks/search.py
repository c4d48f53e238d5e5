"""What searching 100,000 regions costs, beside libraries for it, and whether the right slices are found.

    python benchmarks/search.py [--also FOLDER] [--slices DATA]

With `--slices` alone the question is which slice: the FLAIR volumes of the test patients of volumes/lgg become a
project, which is indexed and searched for a text as the program does it. Writes benchmarks/results/slices.json.

Else an index of 100,000 random unit vectors of 256 numbers is written as the program does it, in 80 cases of 1,250,
and again in 10,000 cases of 10 (films). Measured: opening it, a query for the 20 best slices, one slice more, and
memory. FOLDER may hold faiss-cpu, usearch and hnswlib (pip install --target FOLDER …); each then gets the same
vectors, and queries that are near to some of them. Writes benchmarks/results/search.json. Processor time is that of all
threads together, and leaves out other work on the machine.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
from sklearn.metrics import roc_auc_score

from napari_medclipsam.annotation.places import ObjectKey, SliceAt
from napari_medclipsam.images.io import read_mask
from napari_medclipsam.models.registry import load
from napari_medclipsam.projects.project import Project
from napari_medclipsam.projects.studies import images_in
from napari_medclipsam.search.building import build, index_version
from napari_medclipsam.search.finding import known_structure, text_vectors
from napari_medclipsam.search.index import Index
from napari_medclipsam.search.rows import HASH_BYTES, CaseRows, Kind, Row
from napari_medclipsam.search.store import Store

RESULTS = Path(__file__).parent / "results"
N, WIDTH, PER_SLICE, TOP, QUERIES = 100_000, 256, 10, 20, 200
QUERY = "brain tumor"
# Of volumes/lgg, by name.
PATIENTS = {"train": slice(10), "test": slice(-4, None)}


def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    # Around 2,000 centres, as slices of one organ are near to each other.
    found = rng.normal(size=(2000, WIDTH))[rng.integers(0, 2000, N)] + 0.7 * rng.normal(size=(N, WIDTH))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def milliseconds(do: Callable[[], object], n: int) -> dict[str, float]:
    """Repeat something; processor time is that of all threads, and does not count other work on the machine."""
    walls, processor = [], []
    for _ in range(n):
        start, started = time.perf_counter(), time.process_time()
        do()
        walls.append(1000 * (time.perf_counter() - start))
        processor.append(1000 * (time.process_time() - started))
    return {
        "p50 ms": round(float(np.median(walls)), 2),
        "p95 ms": round(float(np.percentile(walls, 95)), 2),
        "processor ms": round(float(np.median(processor)), 2),
    }


def asked(search: Callable[[np.ndarray], object], queries: np.ndarray) -> dict[str, float]:
    line = iter(queries)
    return milliseconds(lambda: search(next(line)), len(queries))


def written(folder: Path, data: np.ndarray, n_cases: int) -> tuple[Any, Store]:
    """Write an index, and return a stand-in for its project: an index asks it for its cases only."""
    store, each = Store(folder), N // n_cases
    store.folder.mkdir(parents=True)
    studies = {}
    for number in range(n_cases):
        case = f"c{number:05d}"
        rows = [
            Row(at(k // PER_SLICE), Kind.PART, ObjectKey(0, 0), (0, 0, 9, 9), bytes(HASH_BYTES), vector)
            for k, vector in enumerate(data[number * each : (number + 1) * each])
        ]
        # Not `put`: ten thousand times fsync would be measured.
        store._write(case, CaseRows.of("v", "sha", 0, rows))
        studies[case] = SimpleNamespace(sha256="sha", grid=SimpleNamespace(shape=(each // PER_SLICE, 9, 9)))
    project = SimpleNamespace(studies=studies, study=studies.__getitem__)
    return project, store


def at(index: int) -> SliceAt:
    return SliceAt.across(0, index)


def ours(data: np.ndarray, queries: np.ndarray, n_cases: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        project, store = written(Path(folder), data, n_cases)
        before = psutil.Process().memory_info().rss
        start, started = time.perf_counter(), time.process_time()
        index = Index(project, store, "v")
        index.refresh()
        opened = round(time.perf_counter() - start, 2), round(time.process_time() - started, 2)
        memory = psutil.Process().memory_info().rss - before
        found = asked(lambda query: index.nearest(query, data[:9], top=TOP), queries)
        row = Row(at(3), Kind.REGION, ObjectKey(1), (0, 0, 9, 9), bytes(HASH_BYTES), data[0])
        case = next(iter(project.studies))
        added = milliseconds(lambda: (store.put(case, "v", "sha", [row.at], [row]), index.refresh()), 15)
        size = sum(path.stat().st_size for path in store.folder.iterdir())
    return {
        "query": found,
        "one slice accepted, on disk and searchable": added,
        "open s": opened[0],
        "open, processor s": opened[1],
        "on disk MB": round(size / 1e6),
        "memory MB": round(memory / 1e6),
    }


def others(data: np.ndarray, queries: np.ndarray) -> dict[str, Any]:
    """Time whatever of the libraries is there: one query, building, adding ten vectors, and what they find."""
    exact = np.argsort(-(queries @ data.T), axis=1)[:, :TOP]

    def numpy_product() -> tuple[Callable, Callable]:
        return (lambda q: np.argpartition(-(data @ q), TOP)[:TOP]), (lambda new: np.concatenate([data, new]))

    def faiss_flat() -> tuple[Callable, Callable]:
        index = import_module("faiss").IndexFlatIP(WIDTH)
        index.add(data)
        return (lambda q: index.search(q[None], TOP)[1][0]), index.add

    def faiss_hnsw() -> tuple[Callable, Callable]:
        faiss = import_module("faiss")
        index = faiss.IndexHNSWFlat(WIDTH, 32, faiss.METRIC_INNER_PRODUCT)
        index.add(data)
        return (lambda q: index.search(q[None], TOP)[1][0]), index.add

    def usearch() -> tuple[Callable, Callable]:
        index = import_module("usearch.index").Index(ndim=WIDTH, metric="ip", dtype="f16")
        index.add(np.arange(N), data)
        return (lambda q: index.search(q, TOP).keys), (lambda new: index.add(np.arange(N, N + len(new)), new))

    def hnswlib() -> tuple[Callable, Callable]:
        index = import_module("hnswlib").Index("ip", WIDTH)
        index.init_index(N + 100, M=32, ef_construction=100)
        index.add_items(data)
        index.set_ef(100)
        return (lambda q: index.knn_query(q, TOP)[0][0]), index.add_items

    table: dict[str, Any] = {}
    for library in (numpy_product, faiss_flat, faiss_hnsw, usearch, hnswlib):
        name = library.__name__.replace("_", " ")
        try:
            started = time.process_time()
            search, add = library()
        except ImportError:
            continue
        built = time.process_time() - started
        hits = [len({*search(q)} & {*e}) / TOP for q, e in zip(queries[:50], exact[:50], strict=True)]
        times = asked(search, queries)
        started = time.process_time()
        add(data[:PER_SLICE].copy())
        table[name] = {
            **times,
            "build, processor s": round(built, 2),
            "add one slice, processor ms": round(1000 * (time.process_time() - started), 2),
            "of the true 20": round(float(np.mean(hits)), 3),
        }
        print(name, table[name], flush=True)
    return table


def which_slices(data: Path, on: str) -> dict[str, Any]:
    """Rank the slices of volumes for a text through an index: as the program does it, and by vectors alone."""
    model, folder = load("lite"), data / "volumes" / "lgg"
    names = sorted(path.name.removesuffix("_tumor.nii.gz") for path in folder.glob("*_tumor.nii.gz"))
    with tempfile.TemporaryDirectory() as work, Project.create(Path(work) / "project", [], "benchmark") as project:
        truths = {}
        for name in names[PATIENTS[on]]:
            ((_, study),) = project.add(images_in(folder / f"{name}_flair.nii.gz"))
            image = study.read(project.folder)
            mask = read_mask(folder / f"{name}_tumor.nii.gz", image) > 0
            truths[study.case] = study.grid.view(image).to_turned(mask).any(axis=(1, 2))
        store, started = Store(project.folder), time.process_time()
        n = sum(done.n_new for done in build(project, store, model))
        spent, size = time.process_time() - started, sum(path.stat().st_size for path in store.folder.iterdir())
        index = Index(project, store, index_version(model))
        index.refresh()
        _, structure = known_structure(index, model, QUERY)
        table = {}
        for way, asked_for in {"presence": structure, "vectors alone": None}.items():
            hits = index.nearest(*text_vectors(model, QUERY), top=n, structure=asked_for).best
            table[way] = told_apart([(h.case, bool(truths[h.case][h.row.at.index]), h.is_claimed) for h in hits])
    counts = {
        "slices": len(hits),
        "with tumour": sum(bool(truths[h.case][h.row.at.index]) for h in hits),
        "indexing, processor s a slice": round(spent / n, 3),
        "on disk, kB a slice": round(size / 1000 / n, 1),
    }
    return {"ways": table, "counts": counts}


def told_apart(ranked: list[tuple[str, bool, bool]]) -> dict[str, float]:
    """Return how well an order of (case, whether the tumour is there, whether that is claimed) tells slices apart."""
    cases = sorted({case for case, _, _ in ranked})
    own = {case: [there for c, there, _ in ranked if c == case] for case in cases}
    places = {case: roc_auc_score(there, -np.arange(len(there))) for case, there in own.items()}
    return {
        **{f"AUC, {case}": float(value) for case, value in places.items()},
        "AUC, mean of volumes": float(np.mean(list(places.values()))),
        "AUC, all slices together": float(roc_auc_score([there for _, there, _ in ranked], -np.arange(len(ranked)))),
        "first slice of a volume has tumour": float(np.mean([there[0] for there in own.values()])),
        "claimed, of slices with tumour": float(np.mean([claimed for _, there, claimed in ranked if there])),
        "claimed, of slices without": float(np.mean([claimed for _, there, claimed in ranked if not there])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--also", type=Path, help="folder with other libraries")
    parser.add_argument("--slices", type=Path, help="measure what is found in the volumes of this data folder")
    parser.add_argument("--on", choices=PATIENTS, default="test", help="for `--slices`; only test is written")
    args = parser.parse_args()
    if args.slices is not None:
        found = which_slices(args.slices, args.on)
        print(json.dumps(found, indent=1, ensure_ascii=False))
        if args.on == "test":
            text = json.dumps({"slices": found}, indent=1, ensure_ascii=False)
            (RESULTS / "slices.json").write_text(text + "\n", encoding="utf-8")
        return
    data = vectors()
    rng = np.random.default_rng(1)
    queries = data[rng.integers(0, N, QUERIES)] + 0.03 * rng.normal(size=(QUERIES, WIDTH)).astype(np.float32)
    queries = np.ascontiguousarray(queries / np.linalg.norm(queries, axis=1, keepdims=True), np.float32)
    path = RESULTS / "search.json"
    result = json.loads(path.read_text(encoding="utf-8"))["search"] if path.exists() else {}
    for n_cases in (80, 10_000):
        result[f"{N:,} regions in {n_cases:,} cases"] = ours(data, queries, n_cases)
        print(result, flush=True)
    if args.also is not None:
        sys.path.insert(0, str(args.also))
        result["libraries"] = others(data, queries)
    path.write_text(json.dumps({"search": result}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
