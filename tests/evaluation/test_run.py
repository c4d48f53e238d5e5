import json

import numpy as np
import pytest

from napari_medclipsam.errors import PromptError
from napari_medclipsam.evaluation.datasets import open_dataset, read_sample
from napari_medclipsam.evaluation.run import evaluate
from synthetic import Both


def test_figures_of_a_model_that_is_right(data_set):
    model = Both()
    done = []
    result = evaluate(
        open_dataset(data_set),
        "disk",
        model,
        model,
        absent=["bar", "square", "gizmo"],
        progress=lambda n, total: done.append((n, total)),
    )
    assert (result.n_positive, result.n_normal) == (3, 2)
    assert result.dsc.mean == result.nsd.mean == result.found_share == 1
    assert result.box_iou.mean > 0.8
    assert result.normal_false_positive_rate == 0
    assert result.specificity.n == 0 and "specificity" not in result.to_table()
    assert result.absent_false_positive_rate == {"bar": 0, "square": 1, "gizmo": 0}
    assert done[-1] == (5, 5) and result.seconds_per_image["total"] > 0


def test_a_wrong_text_scores_zero(data_set):
    model = Both()
    result = evaluate(open_dataset(data_set), "bar", model, model)
    assert result.dsc.mean == result.nsd.mean == result.found_share == result.box_iou.mean == 0


def test_text_column_and_limit(data_set):
    model = Both()
    dataset = open_dataset(data_set)
    result = evaluate(dataset, "bar", model, model, text_column="words")
    assert result.found_share == pytest.approx(1 / 3)
    assert evaluate(dataset, "disk", model, model, limit=2).n_positive == 1
    with pytest.raises(PromptError, match="words"):
        evaluate(dataset, "disk", model, model, text_column="nothing")


def test_json_and_table(data_set):
    model = Both()
    result = evaluate(open_dataset(data_set), "disk", model, model, absent=["bar"])
    table = result.to_table()
    assert "DSC" in table and "1.000" in table and 'absent "bar" drawn' in table
    figures = json.loads(result.to_json())
    assert figures["dsc"]["n"] == 3 and figures["absent_false_positive_rate"] == {"bar": 0}


def test_a_clip_model_with_the_specificity_of_its_maps(data_set):
    from clip_samples import make_encoder
    from napari_medclipsam.saliency.grounder import ClipGrounder

    grounder = ClipGrounder(make_encoder("plain"), "gradcam")
    dataset = open_dataset(data_set)
    result = evaluate(dataset, "disk", grounder, Both())
    maps = [grounder.saliency(read_sample(sample)[0], "disk") for sample in dataset.samples[:3]]
    assert result.specificity.mean == pytest.approx(np.mean([m.specificity for m in maps]), abs=1e-5)
    assert "specificity" in result.to_table() and result.model == "tiny-plain:gradcam"


def test_figures_without_positive_images_are_null_not_nan(data_set):
    model = Both()
    dataset = open_dataset(data_set)
    normal = type(dataset)(dataset.name, dataset.split, dataset.samples[-2:])
    result = evaluate(normal, "disk", model, model)
    assert json.loads(result.to_json())["dsc"]["mean"] is None
    assert "DSC" not in result.to_table()
