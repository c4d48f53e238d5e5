import numpy as np
import pytest

from synthetic import picture, save


@pytest.fixture
def data_set(tmp_path):
    """Four pictures with a disk, two without, as a data set with an index and two splits."""
    folder = tmp_path / "shapes"
    rows = ["name,split,words"]
    for i in range(6):
        pixels, masks = picture("disk", "square") if i < 4 else picture("square")
        save(folder / "images" / f"p{i}.png", pixels)
        save(folder / "masks" / f"p{i}.png", masks.get("disk", np.zeros(pixels.shape, bool)))
        rows.append(f"p{i},{'train' if i == 0 else 'test'},{'round disk' if i == 1 else ''}")
    (folder / "index.csv").write_text("\n".join(rows))
    return folder
