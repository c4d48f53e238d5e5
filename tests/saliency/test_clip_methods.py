"""Each saliency method on small random vision transformers, against its definition written out in float64."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import references
import torch

from clip_samples import TOWERS, make_encoder, noise_image
from napari_medclipsam.errors import MedclipsamError, ModelError
from napari_medclipsam.saliency.gscorecam import GScoreCamSettings
from napari_medclipsam.saliency.legrad import LeGradSettings
from napari_medclipsam.saliency.m2ib import M2ib, M2ibSettings
from napari_medclipsam.saliency.maps import min_max
from napari_medclipsam.saliency.methods import METHODS, find_method, make_method
from napari_medclipsam.saliency.tower import Tower
from napari_medclipsam.saliency.work import SaliencyCancelled, Work

TEXTS = ("brain tumor", "left lung", "flying carpet")
LAYER = {"timm": 4, "plain": 2, "average": 2}
REFERENCES = {
    "gradcam": lambda network, pixels, text, kind: references.gradcam(network, pixels, text),
    "gscorecam": lambda network, pixels, text, kind: references.gscorecam(network, pixels, text, n_kept(network)),
    "m2ib": lambda network, pixels, text, kind: references.m2ib(
        network, pixels, text, layer=LAYER[kind], beta=1.0, seed=0
    ),
    "legrad": lambda network, pixels, text, kind: references.legrad(network, pixels, text),
}


def n_kept(network) -> int:
    blocks, is_timm, _ = references.parts(network)
    return round(references.norm(blocks[-1], 2, is_timm).weight.numel() * 300 / 768)


def inputs(kind: str):
    encoder = make_encoder(kind)
    return encoder, encoder.image_tensor(noise_image()), torch.from_numpy(encoder.embed_text(TEXTS))


def maps_of(kind: str, name: str, settings=None, work: Work = Work()):  # noqa: B008
    encoder, pixels, texts = inputs(kind)
    return make_method(name, Tower.of(encoder), settings).maps(pixels, texts, work)


@pytest.mark.parametrize("kind", TOWERS)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_its_definition(name, kind):
    settings = M2ibSettings(layer=LAYER[kind]) if name == "m2ib" else None
    maps, vector = maps_of(kind, name, settings)
    encoder, pixels, texts = inputs(kind)
    network = make_encoder(kind, double=True).network
    for own, text in zip(min_max(maps), texts, strict=True):
        expected = REFERENCES[name](network, pixels.double(), text.double(), kind)
        # A map that is zero everywhere would agree with anything that is.
        assert expected.max() == 1
        np.testing.assert_allclose(own.numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(vector.numpy(), encoder.embed_image(noise_image()), atol=1e-5)


@pytest.mark.parametrize("kind", TOWERS)
@pytest.mark.parametrize("name", METHODS)
def test_texts_together_are_texts_apart(name, kind):
    encoder, pixels, texts = inputs(kind)
    method = make_method(name, Tower.of(encoder))
    together, _ = method.maps(pixels, texts, Work())
    apart = torch.cat([method.maps(pixels, text[None], Work())[0] for text in texts])
    torch.testing.assert_close(min_max(together), min_max(apart), atol=1e-5, rtol=0)
    assert not torch.allclose(min_max(together)[0], min_max(together)[1], atol=1e-2)


@pytest.mark.parametrize("name", METHODS)
def test_the_same_call_gives_the_same_map_and_leaves_nothing_behind(name):
    encoder, _, _ = inputs("timm")
    first, again = maps_of("timm", name)[0], maps_of("timm", name)[0]
    torch.testing.assert_close(first, again, atol=0, rtol=0)
    assert not any(module._forward_hooks for module in encoder.network.modules())
    assert all(parameter.grad is None for parameter in encoder.network.parameters())


@pytest.mark.parametrize("name", METHODS)
def test_it_works_where_gradients_are_off(name):
    with torch.no_grad():
        maps, _ = maps_of("plain", name)
    torch.testing.assert_close(maps, maps_of("plain", name)[0], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 4, 1000])
def test_the_batch_does_not_change_the_map(batch):
    maps, _ = maps_of("plain", "gscorecam", GScoreCamSettings(batch=batch))
    torch.testing.assert_close(maps, maps_of("plain", "gscorecam")[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_progress_comes_and_a_cancelled_map_ends(name):
    told = []
    maps_of("plain", name, work=Work(lambda done, total: told.append((done, total))))
    assert told[0][0] == 0 and told[-1][0] == told[-1][1] and told == sorted(told)
    with pytest.raises(SaliencyCancelled):
        maps_of("plain", name, work=Work(cancelled=lambda: True))
    encoder, _, _ = inputs("plain")
    assert not any(module._forward_hooks for module in encoder.network.modules())


def test_a_cancelled_map_ends_at_the_next_step():
    steps = iter([False, False, True])
    told = []
    with pytest.raises(MedclipsamError):
        maps_of("plain", "m2ib", work=Work(lambda done, total: told.append(done), lambda: next(steps)))
    assert told == [0, 1]


def test_settings_reach_the_method():
    one_block = maps_of("timm", "legrad", LeGradSettings(n_blocks=1))[0]
    assert not torch.allclose(min_max(one_block), min_max(maps_of("timm", "legrad")[0]), atol=1e-2)
    with pytest.raises(ModelError, match="M2IB takes M2ibSettings; got LeGradSettings"):
        maps_of("timm", "m2ib", LeGradSettings())
    with pytest.raises(ModelError, match=r"4 blocks, so .* after block 0 to 2; got 9"):
        maps_of("plain", "m2ib", M2ibSettings(layer=9))


def test_m2ib_takes_the_layer_of_the_paper_in_a_network_of_twelve():
    tower = SimpleNamespace(blocks=[None] * 12, encoder=None)
    tower.block_index = lambda wanted, share: Tower.block_index(tower, wanted, share)
    assert M2ib(tower)._layer == 9


def test_an_unknown_method_is_refused_with_those_there_are():
    with pytest.raises(ModelError, match="'magic'; choose one of legrad, gradcam, gscorecam, m2ib"):
        find_method("magic")


def test_an_encoder_without_the_layers_names_those_it_has():
    with pytest.raises(ModelError, match=r"ModifiedResNet with the layers .*layer4, attnpool"):
        Tower.of(make_encoder("resnet"))
    trunk = torch.nn.Sequential()
    trunk.add_module("stages", torch.nn.Identity())
    odd = SimpleNamespace(name="odd", network=SimpleNamespace(visual=SimpleNamespace(trunk=trunk)))
    with pytest.raises(ModelError, match="'odd' is a Sequential with the layers stages"):
        Tower.of(odd)


@pytest.mark.parametrize("name", METHODS)
def test_a_block_without_a_layer_that_the_method_needs(name):
    encoder, _, _ = inputs("plain")
    tower = Tower.of(encoder)
    bare = torch.nn.Sequential()
    bare.add_module("mixer", torch.nn.Identity())
    blocks = [*tower.blocks[:-1], bare]
    changed = Tower(encoder, blocks, 1, tower.grid_yx, is_timm=False, reads_class_token=True)
    if name == "m2ib":
        make_method(name, changed)  # It reads what comes out of a block, and needs no layer inside.
    else:
        with pytest.raises(ModelError, match=r"needs the layer .* in Sequential of 'tiny-plain', which has mixer"):
            make_method(name, changed)
