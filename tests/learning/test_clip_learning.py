"""Fine-tuning of a text-image encoder: the learner, and a run of it from captions to a version in use."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captioned import CAPTIONS, HEAD, write_pairs, write_table
from safetensors.torch import load_file

from clip_samples import make_encoder, noise_image, save_open_clip
from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning import clip_network, fitting
from napari_medclipsam.learning.captions import read_captions
from napari_medclipsam.learning.clip_home import CLIP_FORMAT, find_home, home_for, open_home
from napari_medclipsam.learning.clip_learner import ClipLearner, ClipTask
from napari_medclipsam.learning.clip_losses import ContrastSettings
from napari_medclipsam.learning.clip_network import merged, trainable
from napari_medclipsam.learning.clip_pairs import prepared
from napari_medclipsam.learning.clip_request import ClipRequest, ClipTraining, request_from_json
from napari_medclipsam.learning.clip_run import SALIENCY, ClipRun, judged
from napari_medclipsam.learning.comparing import compare
from napari_medclipsam.learning.contracts import Budget, Example, Label, LearningCancelled, Settings
from napari_medclipsam.learning.loading import project_pair
from napari_medclipsam.learning.status import Status
from napari_medclipsam.learning.teller import Teller
from napari_medclipsam.learning.versions import active_version, roll_back
from napari_medclipsam.models.registry import load
from napari_medclipsam.projects.documents import write_document

SHARP = ContrastSettings(0.1)


class Watch:
    """Counts steps, and ends the work after some."""

    def __init__(self, most=10**9, ends_with=LearningCancelled):
        self.left, self.losses, self._ends_with = most, [], ends_with

    def step(self, fraction, **figures):
        if "loss" in figures:
            self.losses.append(figures["loss"])
            self.left -= 1
            if self.left < 0:
                raise self._ends_with


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Pairs of 11 patients, and an untrained encoder."""
    folder = tmp_path_factory.mktemp("clip")
    return write_pairs(folder / "data", 11), f"local-dir:{save_open_clip(folder / 'model', 'plain')}"


def fit(base, pairs, folder, training, watch=None, seed=0):
    folder.mkdir(exist_ok=True)
    settings = Settings("cpu", seed, True, Budget(300), base.name)
    return ClipLearner().fit(base, pairs, training, folder, settings, watch or Watch())


def few(data, n=24):
    return read_captions(data[0], "salt").pairs[:n]


@pytest.mark.parametrize("loss", ["dhn-nce", "infonce"])
def test_a_batch_in_parts_has_the_gradient_of_the_whole(data, loss):
    encoder = make_encoder("plain")
    ready = prepared(encoder, few(data), lambda part: None)
    task = ClipTask(trainable(encoder, "full"), ready, ClipTraining(loss))
    found = []
    for at_once in (12, 5):
        network = task.network()
        told = task.gradients(network, 12, at_once, np.random.default_rng(0), torch.Tensor.backward, lambda: None)
        found.append((told, [p.grad for p in network.parameters() if p.grad is not None]))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-6)
    assert len(found[0][1]) == len(found[1][1]) > 20
    for whole, parts in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(whole, parts, atol=1e-6, rtol=1e-4)


def test_no_batch_has_a_caption_twice(data):
    ready = prepared(make_encoder("plain"), few(data, 40), lambda part: None)
    rng = np.random.default_rng(0)
    for _ in range(20):
        drawn = ready.drawn(8, rng)
        assert len({ready.topics[i] for i in drawn}) == len(drawn) == 8


@pytest.mark.parametrize(("kind", "epochs"), [("timm", 1), ("plain", 3)])
def test_lora_is_small_and_leaves_no_trace_in_the_network(data, kind, epochs, tmp_path):
    base = make_encoder(kind)
    said = fit(base, few(data, 12), tmp_path / "fit", ClipTraining(way="lora", rate=5e-2, epochs=epochs, batch=12))
    assert said["steps"] == epochs and said["batch"] == 12
    stored = load_file(tmp_path / "fit" / "clip.safetensors")
    assert all("lora_" in name for name in stored)
    tuned = ClipLearner().load(tmp_path / "fit", base, "cpu")
    assert [n for n, _ in tuned.network.named_modules()] == [n for n, _ in base.network.named_modules()]
    assert not np.allclose(tuned.embed_image(noise_image()), base.embed_image(noise_image()), atol=1e-3)
    with_lora = trainable(base, "lora")
    with_lora.load_state_dict(stored, strict=False)
    image, tokens = base.image_tensor(noise_image()), base.token_tensor(["a tumor"])
    expected = [side.detach().clone() for side in with_lora(image, tokens)]
    plain = merged(with_lora)
    torch.testing.assert_close(plain.encode_image(image), expected[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(plain.encode_text(tokens), expected[1], atol=1e-4, rtol=1e-4)


def test_killed_and_gone_on_with_gives_the_same_weights(data, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "CHECKPOINT_S", 0.0)
    monkeypatch.setattr(fitting, "_PER_WRITING", 0)
    base, training = make_encoder("plain"), ClipTraining(rate=1e-3, epochs=4, batch=12)
    fit(base, few(data), tmp_path / "whole", training)
    with pytest.raises(KeyboardInterrupt):
        fit(base, few(data), tmp_path / "parts", training, Watch(4, KeyboardInterrupt))
    assert (tmp_path / "parts" / "checkpoint.safetensors").exists()
    assert not (tmp_path / "parts" / "clip.safetensors").exists()
    said = fit(base, few(data), tmp_path / "parts", training)
    assert said["steps"] == 8 and not (tmp_path / "parts" / "checkpoint.safetensors").exists()
    one, other = (load_file(tmp_path / name / "clip.safetensors") for name in ("whole", "parts"))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=1e-6, rtol=1e-5)


def test_memory_that_is_not_enough_halves_what_is_in_it(data, tmp_path, monkeypatch):
    forward = clip_network.ClipNetwork.forward

    def with_little_memory(self, images, tokens):
        if len(images) > 4:
            raise RuntimeError("out of memory")
        return forward(self, images, tokens)

    monkeypatch.setattr(clip_network.ClipNetwork, "forward", with_little_memory)
    said = fit(make_encoder("plain"), few(data), tmp_path / "fit", ClipTraining(epochs=1, batch=12))
    assert said["at_once"] == 3 and said["batch"] == 12


def test_what_can_not_be_learnt(data, tmp_path):
    with pytest.raises(LearningError, match=r"image tower of 'tiny-resnet' is a ModifiedResNet with the layers conv1"):
        fit(make_encoder("resnet"), few(data), tmp_path / "fit", ClipTraining(way="lora"))
    for wrong, said in (
        ({"batch": 1}, "at least 2; got 1"),
        ({"loss": "triplet"}, "choose one of dhn-nce"),
        ({"rate": 0.0}, "above 0"),
        ({"epochs": 0}, "1 or more"),
        ({"way": "half"}, "'full' or 'lora'"),
    ):
        with pytest.raises(LearningError, match=said):
            ClipTraining(**wrong)
    same = [pair for pair in few(data) if pair.caption == CAPTIONS[0]]
    with pytest.raises(LearningError, match="only 1 different captions are left"):
        fit(make_encoder("plain"), same, tmp_path / "fit", ClipTraining())
    (data[0].parent / "broken.png").write_bytes(b"\x89PNG no picture")
    broken = write_table(data[0].parent / "broken.csv", [("broken.png", "a", ""), ("broken.png", "b", "")], HEAD)
    with pytest.raises(LearningError, match="None of the 2 images can be read"):
        fit(make_encoder("plain"), read_captions(broken, "").pairs, tmp_path / "fit", ClipTraining())


def run(home, source, base, **training):
    open_home(home, source)
    (home / "models" / "work").mkdir(parents=True, exist_ok=True)
    request = ClipRequest(settings=Settings(base=base, deterministic=True), training=ClipTraining(**training))
    assert request_from_json(request.to_json()) == request
    teller = Teller(home, None, Status("starting"))
    try:
        return ClipRun(home, request, teller).work()
    finally:
        teller.control.close()


def test_from_captions_to_an_encoder_in_use(data, tmp_path):
    pairs, base = data
    home = tmp_path / "pairs-clip"
    # Who is held out follows from the id: four of the eleven patients.
    write_document(home / "clip.json", CLIP_FORMAT, {"id": "a", "source": str(pairs.resolve())})
    version, verdict = run(home, pairs, base, rate=3e-3, epochs=10, contrast=SHARP)
    assert verdict.better and version.state == "promoted" and verdict.message.startswith("Better: recall 0.")
    assert verdict.structures["recall@1"].gain > 0.2 and set(verdict.ways) == {"image to text", "text to image"}
    assert "instead of 64: there are no more different captions" in verdict.message
    lineage = version.lineage
    assert not set(lineage["data"]["patients"]) & set(lineage["data"]["held_out"])
    # Vectors that say nothing have a loss of twice log 11, one for each direction.
    assert lineage["fit"]["model"]["said"]["loss"] < 2 * np.log(11) - 1
    assert "patient" not in str(lineage["data"]["patients"])
    before, after = load(base), project_pair(home, f"{base}+lite")[0][0].encoder
    assert after.version == f"{before.version}+v0001"
    assert not np.allclose(before.embed_text(["square"]), after.embed_text(["square"]), atol=1e-3)
    # The same again is no better than itself, and the way back is the encoder that all began with.
    again, verdict = run(home, pairs, base, rate=1e-9, epochs=1)
    assert verdict.better is False and again.state == "not better" and active_version(home).name == "v0001"
    assert roll_back(home, "ana") is None and project_pair(home, f"{base}+lite")[0][0].encoder.version == before.version


def test_only_text_image_encoders_are_fine_tuned(data, tmp_path):
    with pytest.raises(LearningError, match="lite is no text-image encoder that can be fine-tuned; choose --model bio"):
        run(tmp_path / "home", data[0], "lite")


def test_a_gain_in_recall_that_costs_the_saliency_is_none(data):
    pairs = few(data, 60)
    image, mask = noise_image(), np.zeros((40, 60), bool)
    mask[:20, :30] = True
    examples = [Example(f"c{n}", (None, None), f"p{n}", lambda: image, {"tumor": Label(mask)}) for n in range(2)]
    one = make_encoder("plain")
    verdict = judged(one, one, pairs, examples, lambda part: None)
    assert verdict.better is False and verdict.ways[SALIENCY].gain == 0 and "Saliency IoU" in verdict.message
    assert judged(one, one, [], [], lambda part: None).better is None
    assert SALIENCY not in judged(make_encoder("resnet"), make_encoder("resnet"), pairs, examples, print).ways


def test_where_versions_are_kept(tmp_path):
    pairs = write_table(tmp_path / "pairs.csv", [])
    assert home_for(pairs) == tmp_path.resolve() / "pairs-clip"
    first = open_home(tmp_path / "home", pairs)
    other = open_home(tmp_path / "home", tmp_path)
    assert first["id"] == other["id"] and other["source"] == str(tmp_path.resolve())
    assert find_home(tmp_path / "home") == tmp_path / "home" and find_home(tmp_path) is None
    with pytest.raises(LearningError, match="holds something else"):
        open_home(tmp_path, pairs)
    with pytest.raises(LearningError, match="is told by: medclipsam versions show"):
        compare(tmp_path / "home", "base", "v0001", "cpu")
