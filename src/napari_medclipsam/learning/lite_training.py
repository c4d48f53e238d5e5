"""Train medclipsam-lite from the data folder: encode, ground, read structures, click, describe regions, calibrate.

Each step leaves its result in a work folder; a run that was stopped goes on with the first step that is missing.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from napari_medclipsam.errors import ModelError
from napari_medclipsam.files import sha256_of
from napari_medclipsam.learning.lite_calibration import calibrate_known, calibrate_presence, click_figures
from napari_medclipsam.learning.lite_captions import Concepts, read_films
from napari_medclipsam.learning.lite_click_net import ClickNetSettings, train_click_net
from napari_medclipsam.learning.lite_clicks import ClickSettings, train_clicks
from napari_medclipsam.learning.lite_embedding import EmbeddingSettings, Taught, parted, train_embedding
from napari_medclipsam.learning.lite_embedding_scale import calibrate_scale
from napari_medclipsam.learning.lite_grounding import Asker, GroundingSettings, train_grounding
from napari_medclipsam.learning.lite_region import fit_region
from napari_medclipsam.learning.lite_region_views import pool_views
from napari_medclipsam.learning.lite_samples import GROUPS, Sample, collect
from napari_medclipsam.learning.lite_structures import StructureSettings, train_structures
from napari_medclipsam.learning.lite_views import ViewStore, encode_views
from napari_medclipsam.learning.tensors import halved, save_tensors
from napari_medclipsam.models.lite.click_net import ClickNet
from napari_medclipsam.models.lite.clicks import ClickDecoder
from napari_medclipsam.models.lite.encoder import build_encoder, load_litemedsam
from napari_medclipsam.models.lite.grounding import GroundingHead
from napari_medclipsam.models.lite.known import PhraseBank
from napari_medclipsam.models.lite.parts import Calibration
from napari_medclipsam.models.lite.phrases import phrase_book
from napari_medclipsam.models.lite.preprocess import VERSION
from napari_medclipsam.models.lite.structures import StructureReader
from napari_medclipsam.models.lite.text import TextEncoder
from napari_medclipsam.models.registry import find_entry
from napari_medclipsam.models.store import PACKAGED, verified_paths

TRAINED = ("grounding.safetensors", "clicks.safetensors", "regions.safetensors", "structures.safetensors")
"""The files that ship."""

CLICK_DATASETS = ("brain_mri", "breast_us", "polyps")


@dataclass(frozen=True)
class LiteSettings:
    """One run of the training; the defaults made the weights that ship.

    Parameters
    ----------
    seed : int
        Of the pictures.
    views : int, optional
        Encode only so many.
    left_out : tuple of str
        Data sets that nothing is learnt from, as `lite_samples.GROUPS` names them. What only they show is never asked
        for in training, and its phrases stay known: the model answers them by what it has made of others.
    grounding, structures, clicks, click_net, embedding
        Of the head, of the network that reads structures, of the decoder, of the click network and of the region heads.
    """

    seed: int = 0
    views: int | None = None
    left_out: tuple[str, ...] = ()
    grounding: GroundingSettings = field(default_factory=GroundingSettings)
    structures: StructureSettings = field(default_factory=StructureSettings)
    clicks: ClickSettings = field(default_factory=ClickSettings)
    click_net: ClickNetSettings = field(default_factory=ClickNetSettings)
    embedding: EmbeddingSettings = field(default_factory=EmbeddingSettings)

    @classmethod
    def with_seed(cls, seed: int, left_out: Sequence[str] = ()) -> LiteSettings:
        """Return the defaults with one seed for the data and every part.

        Raises
        ------
        ModelError
            If there is no such data set to leave out, or none would be left.
        """
        unknown = sorted(set(left_out) - set(GROUPS))
        if unknown or set(left_out) == set(GROUPS):
            raise ModelError(
                f"Can't leave out {', '.join(unknown) or 'every data set'}; the data sets are {', '.join(GROUPS)}."
            )
        return cls(
            seed,
            left_out=tuple(left_out),
            grounding=GroundingSettings(seed=seed),
            structures=StructureSettings(seed=seed),
            clicks=ClickSettings(seed=seed),
            click_net=ClickNetSettings(seed=seed),
            embedding=EmbeddingSettings(seed=seed),
        )


def train_lite(
    data: Path, output: Path, settings: LiteSettings | None = None, say: Callable[[str], None] = print
) -> None:
    """Rebuild the trained parts of medclipsam-lite.

    Parameters
    ----------
    data : pathlib.Path
        The data folder.
    output : pathlib.Path
        Receives the files of `TRAINED` and ``training-log.jsonl``; its subfolder ``work`` (about 2.8 MB a picture)
        may be deleted afterwards.
    settings : LiteSettings, optional
        Seed, steps and rates.
    say : callable
        Told a line now and then.

    Raises
    ------
    ModelError
        If the data folder or the frozen encoders' weights are missing.
    """
    settings = settings or LiteSettings()
    if not (data / "brain_mri" / "index.csv").exists():
        raise ModelError(
            f"{data} is not the training data: it holds no brain_mri/index.csv. "
            "Give the folder that docs/model-card.md describes with --data."
        )
    work = output / "work"
    work.mkdir(parents=True, exist_ok=True)
    log = _Log(output / "training-log.jsonl", say)
    frozen = _frozen_parts()
    litemedsam = load_litemedsam(frozen["lite_medsam.pth"])
    texts = TextEncoder(frozen["model.safetensors"], frozen["tokenizer.json"])
    log.row({"started": asdict(settings), "threads": torch.get_num_threads(), "processor": platform.processor()})
    encode_views(
        data, work, build_encoder(litemedsam.image_encoder, "cpu"), settings.seed, settings.views, log.encoding
    )
    store = ViewStore(work, settings.left_out)
    head = _grounding(work, store, texts, settings.grounding, log)
    samples = list(collect(data, settings.seed))[: settings.views]
    _structures(samples, output / "structures.safetensors", store, settings, log)
    decoder = _clicks(work, store, ClickDecoder(litemedsam), settings.clicks, log)
    decoder.net = _click_net(samples, work, load_file(output / "structures.safetensors"), settings, log)
    embed_regions(data, output, store, texts, frozen["lite_medsam.pth"], settings.embedding, log.row)
    calibrate(output, store, head, texts, log.row)
    log.row({"clicks, validation": click_figures(decoder, store, CLICK_DATASETS)})
    save_tensors(output / "clicks.safetensors", halved(decoder.state_dict()))
    for name in TRAINED:
        path = output / name
        log.row({"written": name, "sha256": sha256_of(path), "size_bytes": path.stat().st_size})


def embed_regions(
    data: Path,
    output: Path,
    store: ViewStore,
    texts: TextEncoder,
    encoder: Path,
    settings: EmbeddingSettings,
    log: Callable[[dict[str, object]], None],
) -> None:
    """Train the region heads on the stored views, set their scale, and write ``regions.safetensors``.

    Parameters
    ----------
    data, output : pathlib.Path
        The data folder, for what the rows of the films say; the folder that receives the file, and in ``work`` the
        pooled regions.
    store : ViewStore
        Encoded views.
    texts : TextEncoder
        The frozen text encoder.
    encoder : pathlib.Path
        The image encoder's weights: the file names their hash.
    settings : EmbeddingSettings
        Steps, rates, seed.
    log : callable
        Told rows of figures.
    """
    regions = pool_views(store, output / "work" / "regions", settings.seed)
    taught = Taught(regions, store.views, Concepts.of(phrase_book(), read_films(data)), texts)
    seen = {*store.rows(validation=False), *store.rows(validation=True)}
    rows, held = ([row for row in part if row in seen] for part in parted(store.views))
    heads = train_embedding(taught, rows, settings, lambda row: log({"regions": row}))
    scale, figures = calibrate_scale(heads, taught, held)
    log({"regions, validation": {k: round(v, 4) for k, v in figures.items()}, "scale": round(scale, 2)})
    about = {"scale": f"{scale:.2f}", "encoder": sha256_of(encoder), "preprocessing": VERSION}
    save_tensors(output / "regions.safetensors", halved(heads.state_dict()), about)


def _frozen_parts() -> dict[str, Path]:
    """The files of the frozen encoders, checked; the parts to be trained need not exist yet."""
    entry = find_entry("lite")
    frozen = replace(entry, files=tuple(f for f in entry.files if f.location != PACKAGED))
    return {path.name: path for path in verified_paths(frozen).values()}


def _grounding(
    work: Path, store: ViewStore, texts: TextEncoder, settings: GroundingSettings, log: _Log
) -> GroundingHead:
    path = work / "grounding.safetensors"
    if path.exists():
        head = GroundingHead()
        head.load_state_dict(load_file(path))
        return head.eval()
    head = train_grounding(store, asker_of(store, texts), settings, lambda row: log.row({"grounding": row}))
    save_tensors(path, head.state_dict())
    return head


def _structures(samples: list[Sample], path: Path, store: ViewStore, settings: LiteSettings, log: _Log) -> None:
    if path.exists():
        return
    net = train_structures(samples, settings.structures, lambda row: log.row({"structures": row}), settings.left_out)
    save_tensors(path, halved(net.state_dict()), {"taught": json.dumps(sorted(store.shown()))})


def asker_of(store: ViewStore, texts: TextEncoder) -> Asker:
    """Return who asks for what some picture shows: what is nowhere to be seen would be learnt as never there."""
    book = phrase_book()
    if store.left_out:
        shown = store.shown()
        book = replace(book, structures={name: s for name, s in book.structures.items() if name in shown})
    return Asker(book, texts)


def _clicks(work: Path, store: ViewStore, decoder: ClickDecoder, settings: ClickSettings, log: _Log) -> ClickDecoder:
    path = work / "clicks.safetensors"
    if path.exists():
        decoder.load_state_dict(load_file(path))
        return decoder.eval().requires_grad_(False)
    decoder = train_clicks(store, decoder, settings, lambda row: log.row({"clicks": row}))
    save_tensors(path, decoder.state_dict())
    return decoder


def _click_net(
    samples: list[Sample], work: Path, start: dict[str, torch.Tensor], settings: LiteSettings, log: _Log
) -> ClickNet:
    path = work / "click-net.safetensors"
    if path.exists():
        net = ClickNet()
        net.load_state_dict(load_file(path))
        return net.eval().requires_grad_(False)
    net = train_click_net(
        samples, start, settings.click_net, lambda row: log.row({"click network": row}), settings.left_out
    )
    save_tensors(path, net.state_dict())
    return net


def calibrate(
    output: Path,
    store: ViewStore,
    head: GroundingHead,
    texts: TextEncoder,
    log: Callable[[dict[str, object]], None],
) -> None:
    """Fit the reading of the body region, set the thresholds, measure, and write ``grounding.safetensors``.

    Parameters
    ----------
    output : pathlib.Path
        The folder that receives the file and holds ``structures.safetensors``.
    store : ViewStore
        Encoded views.
    head : GroundingHead
        The trained head.
    texts : TextEncoder
        The frozen text encoder.
    log : callable
        Told a row of figures.
    """
    region_figures = fit_region(store, head.region)
    book = phrase_book()
    bank = PhraseBank.build(book, texts)
    similarity, margin, known_figures = calibrate_known(bank, book, texts)
    read = StructureReader(output / "structures.safetensors", "cpu")
    offset, offsets, presence_figures = calibrate_presence(head, read, store, bank, book, texts)
    own = {structure: round(value, 4) for structure, value in sorted(offsets.items())}
    calibration = Calibration(round(offset, 4), own, round(similarity, 4), round(margin, 4))
    figures = region_figures | known_figures | presence_figures
    log({"calibration": asdict(calibration), "validation": {k: round(v, 4) for k, v in figures.items()}})
    state = head.state_dict() | {
        "bank.taught": torch.from_numpy(bank.taught),
        "bank.untaught": torch.from_numpy(bank.untaught),
    }
    # Half precision halves the package; the figures above do not change in their third digit.
    save_tensors(output / "grounding.safetensors", halved(state), {"calibration": json.dumps(asdict(calibration))})


class _Log:
    """Rows of figures, one JSON object a line, also told to the user."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._last = 0.0

    def row(self, figures: dict[str, object]) -> None:
        line = json.dumps(figures, default=float)
        with open(self._path, "a", encoding="utf-8") as target:
            target.write(line + "\n")
        self._say(line)

    def encoding(self, done: int, total: int) -> None:
        """Say how far the encoding is, every half minute."""
        if time.monotonic() - self._last > 30 or done == total:
            self._last = time.monotonic()
            self._say(f"encoded {done} of {total} pictures")
