"""open_clip models, for real, on tiny networks in open_clip's own folder format, without a network."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from napari_medclipsam.errors import ModelError, PromptError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models import clip, registry
from napari_medclipsam.models.contracts import TextImageEncoder

pytestmark = pytest.mark.usefixtures("no_network")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "brain", "tumor", "lung", "a", "##s"]
TINY_BERT = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
    "pad_token_id": 0,
}


@pytest.fixture
def bert_contents(tmp_path) -> dict[str, bytes]:
    """The files of a tiny model built as BiomedCLIP is: timm trunk, BERT text tower named by a repository."""
    import open_clip
    import torch

    (tmp_path / "bert").mkdir()
    (tmp_path / "bert/config.json").write_text(json.dumps(TINY_BERT))
    text = {
        "hf_model_name": "organisation/bert-that-is-not-here",
        "hf_tokenizer_name": "organisation/bert-that-is-not-here",
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 12,
    }
    vision = {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 160}
    config = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}
    local = {**text, "hf_model_name": str(tmp_path / "bert"), "hf_model_pretrained": False}
    torch.manual_seed(0)
    network = open_clip.CustomTextCLIP(embed_dim=8, vision_cfg=vision, text_cfg=local)
    torch.save(network.state_dict(), tmp_path / "w.bin")
    preprocessing = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    return {
        "open_clip_pytorch_model.bin": (tmp_path / "w.bin").read_bytes(),
        "open_clip_config.json": json.dumps({"model_cfg": config, "preprocess_cfg": preprocessing}).encode(),
        "vocab.txt": "\n".join(WORDS).encode(),
    }


@pytest.fixture
def bert_options() -> dict:
    known = registry.find_entry("biomedclip").options
    return {"text_config": TINY_BERT, "tokenizer_config": known["tokenizer_config"]}


def test_local_folder(clip_folder, image):
    encoder = registry.load(f"local-dir:{clip_folder}", "cpu")
    assert isinstance(encoder, TextImageEncoder)
    vector, texts = encoder.embed_image(image), encoder.embed_text(["brain tumor", "lung"])
    assert vector.shape == (8,) and texts.shape == (2, 8) and vector.dtype == texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm([vector, *texts], axis=1), 1, atol=1e-5)
    assert not np.allclose(texts[0], texts[1])


def test_the_weights_are_really_loaded(clip_folder, image):
    first = registry.load(f"local-dir:{clip_folder}", "cpu").embed_image(image)
    np.testing.assert_array_equal(first, registry.load(f"local-dir:{clip_folder}", "cpu").embed_image(image))


def test_the_whole_image_is_seen(clip_folder):
    encoder = registry.load(f"local-dir:{clip_folder}", "cpu")
    pixels = np.zeros((40, 120), np.uint8)
    blank = encoder.embed_image(Slice(pixels.copy()))
    pixels[:, :10] = 255  # open_clip's own preparation would cut this off.
    assert not np.allclose(blank, encoder.embed_image(Slice(pixels)), atol=1e-4)


def test_gray_and_rgb_are_the_same_picture(clip_folder, image):
    encoder = registry.load(f"local-dir:{clip_folder}", "cpu")
    rgb = Slice(np.stack([image.pixels] * 3, -1))
    np.testing.assert_array_equal(encoder.embed_image(image), encoder.embed_image(rgb))


def test_a_model_built_as_biomedclip_is(installed, bert_contents, bert_options, image):
    installed(
        "tiny-clip", bert_contents, kind="clip", loader="napari_medclipsam.models.clip:load", options=bert_options
    )
    encoder = registry.load("tiny-clip", "cpu")
    assert encoder.embed_image(image).shape == (8,)
    tokens = encoder.token_tensor(["Brain tumors"])
    assert tokens.shape == (1, 12) and tokens[0, :6].tolist() == [2, 5, 6, 9, 3, 0]
    assert encoder.embed_text(["brain tumor"]).shape == (1, 8)


def test_the_biomedclip_entry_builds_its_text_tower(tmp_path):
    """The configuration in the catalogue is that of BERT base, with the vocabulary that BiomedCLIP's weights have."""
    from transformers import AutoConfig

    entry = registry.find_entry("biomedclip")
    clip._write_text_folder(tmp_path, entry.options, {})
    config = AutoConfig.from_pretrained(tmp_path)
    assert (config.model_type, config.vocab_size, config.num_hidden_layers) == ("bert", 30522, 12)


def test_a_changed_file_is_refused(installed, bert_contents, bert_options, tmp_path):
    installed(
        "tiny-clip", bert_contents, kind="clip", loader="napari_medclipsam.models.clip:load", options=bert_options
    )
    (tmp_path / "models/tiny-clip/vocab.txt").write_text("other")
    with pytest.raises(ModelError, match=r"vocab\.txt is damaged"):
        registry.load("tiny-clip", "cpu")


def test_a_repository_that_is_not_in_the_local_cache(monkeypatch):
    with pytest.raises(ModelError, match="hf download organisation/name"):
        registry.load("hf-hub:organisation/name")
    with pytest.raises(ModelError, match="hf-hub:organisation/name; got"):
        registry.load("hf-hub:not a/valid/name")


def test_a_repository_in_the_local_cache(clip_folder, tmp_path, monkeypatch, image):
    from huggingface_hub import constants

    hub = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub))
    repository, commit = hub / "models--organisation--tiny", "a" * 40
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    (repository / "snapshots").mkdir()
    Path(clip_folder).rename(repository / "snapshots" / commit)
    assert registry.load("hf-hub:organisation/tiny", "cpu").embed_image(image).shape == (8,)


def test_a_text_tower_that_is_named_but_not_here(tmp_path, bert_contents):
    folder = tmp_path / "clip"
    folder.mkdir()
    for name, content in bert_contents.items():
        (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match="hf download organisation/bert-that-is-not-here"):
        registry.load(f"local-dir:{folder}", "cpu")


def test_long_text_is_cut_and_said(clip_folder):
    encoder = registry.load(f"local-dir:{clip_folder}", "cpu")
    with pytest.warns(UserWarning, match=r"has \d+ tokens and .* reads the first 12"):
        encoder.embed_text(["brain tumor " * 30])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.embed_text("brain tumor")


def test_long_text_is_cut_and_said_by_a_hugging_face_tokenizer(installed, bert_contents, bert_options):
    installed(
        "tiny-clip", bert_contents, kind="clip", loader="napari_medclipsam.models.clip:load", options=bert_options
    )
    with pytest.warns(UserWarning, match="has 62 tokens"):
        assert registry.load("tiny-clip", "cpu").embed_text(["brain tumor " * 30]).shape == (1, 8)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_empty_text(clip_folder, text):
    with pytest.raises(PromptError, match="empty"):
        registry.load(f"local-dir:{clip_folder}", "cpu").embed_text(["brain", text])


def test_folders_that_are_no_open_clip_model(tmp_path):
    with pytest.raises(ModelError, match="no open_clip_config"):
        registry.load(f"local-dir:{tmp_path / 'nowhere'}")
    for text in ("", "{}", '{"model_cfg": {"embed_dim": 3}}', '{"model_cfg": 7}'):
        (tmp_path / "open_clip_config.json").write_text(text)
        (tmp_path / "open_clip_model.safetensors").write_bytes(b"")
        with pytest.raises(ModelError, match="not a configuration"):
            registry.load(f"local-dir:{tmp_path}")
    (tmp_path / "open_clip_model.safetensors").unlink()
    with pytest.raises(ModelError, match="has no weights"):
        registry.load(f"local-dir:{tmp_path}")


def test_weights_that_do_not_fit_or_are_damaged(clip_folder):
    weights = clip_folder / "open_clip_model.safetensors"
    config = clip_folder / "open_clip_config.json"
    original = config.read_text()
    config.write_text(original.replace('"embed_dim": 8', '"embed_dim": 12'))
    with pytest.raises(ModelError, match="can't be loaded as an open_clip model"):
        registry.load(f"local-dir:{clip_folder}", "cpu")
    config.write_text(original)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="can't be loaded as an open_clip model"):
        registry.load(f"local-dir:{clip_folder}", "cpu")


class Payload:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_program_code_in_a_weights_file_is_not_run(clip_folder, tmp_path):
    (clip_folder / "open_clip_model.safetensors").unlink()
    (clip_folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Payload(tmp_path / "executed"), protocol=2))
    with pytest.raises(ModelError, match="tensors only"):
        registry.load(f"local-dir:{clip_folder}", "cpu")
    assert not (tmp_path / "executed").exists()


def test_other_packages_may_still_use_the_network_afterwards(clip_folder):
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    registry.load(f"local-dir:{clip_folder}", "cpu")
    assert constants.HF_HUB_OFFLINE is before


def test_a_missing_package_is_named(clip_folder):
    code = (
        "import sys; sys.modules['open_clip'] = None\n"
        "from napari_medclipsam.models import registry\n"
        "from napari_medclipsam.errors import ModelError\n"
        "try: registry.load(sys.argv[1], 'cpu')\n"
        "except ModelError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, f"local-dir:{clip_folder}"], capture_output=True, text=True)
    assert "pip install open_clip_torch" in done.stdout, done.stderr
