"""Text and images in one space: BiomedCLIP and any other open_clip model as a `TextImageEncoder`.

Nothing here touches the network: models come from the user's model folder, a folder, or the local Hugging Face cache.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medclipsam.errors import MedclipsamError, ModelError, PromptError
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models import store
from napari_medclipsam.models.clip_regions import region_vectors
from napari_medclipsam.models.device import choose_device
from napari_medclipsam.models.entry import ModelEntry
from napari_medclipsam.models.region_masks import checked_masks

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

CONFIG = "open_clip_config.json"
_HUB = "hf-hub:"
_FOLDER = "local-dir:"
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")


def load(entry: ModelEntry, device: str | None = None) -> OpenClipEncoder:
    """Load a catalogue entry of kind "clip".

    Options: "text_config" and "tokenizer_config", the Hugging Face configurations of a BERT-like text tower where the
    model's own files only name another repository for them.

    Raises
    ------
    ModelError
        If files are missing, damaged or do not fit together, or the device is not there.
    """
    paths = store.verified_paths(entry)
    with tempfile.TemporaryDirectory(prefix="medclipsam-") as scratch:
        text_folder = Path(scratch)
        _write_text_folder(text_folder, entry.options, paths)
        folder = store.model_folder(entry)
        return _build(folder, text_folder, name=entry.name, device=device)


def load_spec(spec: str, device: str | None = None) -> OpenClipEncoder:
    """Load an open_clip model by its own spec.

    Parameters
    ----------
    spec : str
        ``local-dir:/folder`` with open_clip_config.json and open_clip_model.safetensors (or another file that open_clip
        saves), or ``hf-hub:organisation/name``, which must be in the local Hugging Face cache already.

    Raises
    ------
    ModelError
        If it is not on this machine, damaged, or of another format.
    """
    if spec.startswith(_FOLDER):
        folder = Path(spec.removeprefix(_FOLDER)).expanduser().resolve()
        spec = f"{_FOLDER}{folder}"
        if not (folder / CONFIG).is_file():
            raise ModelError(
                f"{folder} is not an open_clip model: it has no {CONFIG}. Name a folder that open_clip saved."
            )
    else:
        repository = spec.removeprefix(_HUB)
        folder = _hub_snapshot(repository)
    return _build(folder, folder, name=spec, device=device)


def _hub_snapshot(repository: str) -> Path:
    """Return the folder of a repository in the local Hugging Face cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except HFValidationError as error:
        raise ModelError(
            f"An open_clip model is written hf-hub:organisation/name; got {_HUB + repository!r}."
        ) from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"{repository} is not in the local Hugging Face cache, and nothing is downloaded unasked. "
            f"Read its licence and size at https://huggingface.co/{repository}, then run: hf download {repository}"
        ) from error


def _write_text_folder(folder: Path, options: Mapping[str, Any], paths: Mapping[str, Path]) -> None:
    """Make a folder that transformers can read the text tower's configuration and tokenizer from."""
    for option, name in (("text_config", "config.json"), ("tokenizer_config", "tokenizer_config.json")):
        if option in options:
            (folder / name).write_text(json.dumps(options[option]), encoding="utf-8")
    for name, path in paths.items():
        if path.suffix == ".txt" or name.startswith("tokenizer"):
            shutil.copyfile(path, folder / name)


def _build(folder: Path, text_folder: Path, *, name: str, device: str | None) -> OpenClipEncoder:
    """Build an encoder from a model's folder and the folder of its text tower's configuration."""
    chosen = choose_device(device)
    try:
        import open_clip
        from open_clip.transform import PreprocessCfg, image_transform_v2
    except ImportError as error:
        raise ModelError(
            f"CLIP models need the package open_clip_torch ({error}). Run: pip install open_clip_torch"
        ) from error
    weights = _weights_file(folder)
    config = _read_config(folder / CONFIG)
    model_config = config["model_cfg"]
    try:
        with _offline():
            text_config = _local_text_config(model_config["text_cfg"], text_folder)
            custom = model_config.pop("custom_text", False) or "hf_model_name" in text_config
            vision_config = {**model_config["vision_cfg"]}
            if "timm_model_name" in vision_config:
                vision_config["timm_model_pretrained"] = False  # The weights file has them.
            architecture = {**model_config, "text_cfg": text_config, "vision_cfg": vision_config}
            network = (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**architecture)
            tokenizer = _tokenizer(open_clip, text_config)
            open_clip.load_checkpoint(network, str(weights), strict=True, weights_only=True)
            # The whole image, not its centre: a finding at the edge must be seen, and saliency maps back exactly.
            preprocessing = {
                **config.get("preprocess_cfg", {}),
                "resize_mode": "squash",
                "size": network.visual.image_size,
            }
            transform = image_transform_v2(PreprocessCfg(**preprocessing), is_train=False)
    except MedclipsamError:
        raise
    except Exception as error:  # open_clip, timm, transformers and pickle each raise their own.
        raise ModelError(
            f"{folder} can't be loaded as an open_clip model ({_first_line(error)}). "
            "Check that its files belong together and hold tensors only, or fetch it again."
        ) from error
    network = network.eval().requires_grad_(False).to(chosen)
    # What is learnt on these weights must not be put on others that came into the folder since.
    return OpenClipEncoder(network, transform, tokenizer, name=name, version=store.file_sha256(weights)[:12])


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _weights_file(folder: Path) -> Path:
    found = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if found is None:
        raise ModelError(f"{folder} has no weights; expected one of {', '.join(_WEIGHTS)}.")
    return found


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for key in ("embed_dim", "vision_cfg", "text_cfg"):
            config["model_cfg"][key]
        return config
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} is not a configuration of an open_clip model ({error!r}). Fetch the model again."
        ) from error


def _local_text_config(text_config: Mapping[str, Any], text_folder: Path) -> dict[str, Any]:
    """Return open_clip's text configuration with names of repositories replaced by folders on this machine."""
    local = dict(text_config)
    if local.get("hf_model_name"):
        local["hf_model_pretrained"] = False  # The weights file has them.
        local["hf_model_name"] = _folder_with(text_folder, ("config.json",), local["hf_model_name"])
    if local.get("hf_tokenizer_name"):
        files = ("tokenizer_config.json", "tokenizer.json")
        local["hf_tokenizer_name"] = _folder_with(text_folder, files, local["hf_tokenizer_name"])
    return local


def _folder_with(folder: Path, names: Sequence[str], repository: str) -> str:
    if any((folder / name).is_file() for name in names):
        return str(folder)
    return str(_hub_snapshot(repository))


def _tokenizer(open_clip: Any, text_config: Mapping[str, Any]) -> Any:
    length = text_config.get("context_length", 77)
    options = text_config.get("tokenizer_kwargs", {})
    name = text_config.get("hf_tokenizer_name")
    if not name:
        return open_clip.SimpleTokenizer(context_length=length, **options)
    from open_clip.tokenizer import HFTokenizer

    return HFTokenizer(name, context_length=length, tokenizer_mode=text_config.get("tokenizer_mode"), **options)


@contextmanager
def _offline() -> Iterator[None]:
    """Keep huggingface_hub and transformers off the network while a model is built from local files."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


class OpenClipEncoder:
    """An open_clip network as a `RegionEncoder`.

    Images are squeezed to the network's square, so that all of the image is seen.

    Parameters
    ----------
    network : torch.nn.Module
        open_clip model on its device, in evaluation mode, parameters frozen.
    transform : callable
        PIL image to float32 tensor (3, rows, columns).
    tokenizer : callable
        Texts to int64 tensor (n, context length).
    name : str
        The model's name.
    version : str
        Changes with the weights; "" where whoever made it did not say.
    """

    # Its scale was trained on pairs of images and captions, not set so that its answers are right as often as it says.
    is_calibrated = False

    def __init__(
        self, network: Any, transform: Callable[[Any], Any], tokenizer: Any, *, name: str, version: str = ""
    ) -> None:
        self.name = name
        self.version = version
        self.network = network
        self._transform = transform
        self._tokenizer = tokenizer

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = next(self.network.parameters()).device
        return device

    @property
    def scale(self) -> float:
        """Factor that the model was trained with between a cosine and a logit; calibrated on nothing."""
        return float(self.network.logit_scale.exp().clamp(max=100).cpu())

    def embed_image(self, image: Slice) -> np.ndarray:
        """Return the image's unit vector, float32 (d,)."""
        import torch

        with torch.inference_mode():
            vector = self.network.encode_image(self.image_tensor(image), normalize=True)[0]
        return self._checked(vector)

    def embed_regions(self, image: Slice, masks_nyx: np.ndarray) -> np.ndarray:
        """Return unit vectors, float32 (n, d), of regions, bool (n, height, width), of one image.

        Raises
        ------
        PromptError
            If a mask is empty or not of the image's shape.
        ModelError
            If the image tower is no vision transformer.
        """
        import torch

        masks = checked_masks(masks_nyx, image.shape_yx)
        with torch.inference_mode():
            inside = torch.from_numpy(masks.astype(np.float32)).to(self.device)
            return self._checked(region_vectors(self.network, self.image_tensor(image), inside))

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Return one unit vector per text, float32 (n, d).

        A text longer than the network reads is cut, with a warning that says so.

        Raises
        ------
        PromptError
            If a text is empty.
        """
        import torch

        with torch.inference_mode():
            vectors = self.network.encode_text(self.token_tensor(texts), normalize=True)
        return self._checked(vectors)

    def _checked(self, vectors: torch.Tensor) -> np.ndarray:
        values = np.asarray(vectors.float().cpu().numpy(), np.float32)
        if not np.isfinite(values).all():
            raise ModelError(
                f"Model {self.name!r} gave numbers that are not finite on {self.device}. Try the device cpu."
            )
        return values

    def image_tensor(self, image: Slice) -> torch.Tensor:
        """Return the network's input for an image, float32 (1, 3, rows, columns), on its device."""
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(image.pixels)).convert("RGB")
        tensor: torch.Tensor = self._transform(picture)[None].to(self.device)
        return tensor

    def token_tensor(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the network's input for texts, int64 (n, context length), on its device."""
        if isinstance(texts, str):
            texts = [texts]
        for text in texts:
            if not text.strip():
                raise PromptError("The text is empty. Say what to look for, such as 'brain tumor'.")
            if (count := self.count_tokens(text)) > self.context_length:
                warnings.warn(
                    f"The text has {count} tokens and model {self.name!r} reads the first {self.context_length}; the "
                    "rest is ignored. Use a shorter text.",
                    stacklevel=2,
                )
        return self.tokens(texts).to(self.device)

    @property
    def context_length(self) -> int:
        """How many tokens of a text the network reads."""
        return int(self._tokenizer.context_length)

    def tokens(self, texts: Sequence[str]) -> torch.Tensor:
        """Return texts in tokens, int64 (n, context length), on the CPU; one that is too long is cut without a word."""
        tokens: torch.Tensor = self._tokenizer(list(texts))
        return tokens

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a text has."""
        if hasattr(self._tokenizer, "tokenizer"):
            return len(self._tokenizer.tokenizer(text, verbose=False)["input_ids"])
        return len(self._tokenizer.encode(text)) + 2  # Start and end are added later.

    def with_network(self, network: Any) -> OpenClipEncoder:
        """Return the same encoder with other weights, under the same name; frozen, on their device."""
        frozen = network.eval().requires_grad_(False)
        return OpenClipEncoder(frozen, self._transform, self._tokenizer, name=self.name, version=self.version)
