"""Practice of the grounding head and the click decoder on the slices of a project; see `decoder`."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_medclipsam.errors import LearningError
from napari_medclipsam.learning.clock import WORK_CLOCK
from napari_medclipsam.learning.contracts import Settings, Watch
from napari_medclipsam.learning.courses import Clicks, Course, Words, has_object
from napari_medclipsam.learning.practice_slices import PracticeSlice
from napari_medclipsam.learning.settings import most_at_once
from napari_medclipsam.learning.tensors import save_tensors
from napari_medclipsam.models.lite.clicks import ClickDecoder
from napari_medclipsam.models.lite.few_tokens import CHANNELS
from napari_medclipsam.models.lite.grounding import GroundingHead

CHECKPOINT_S = 30.0
SEEN = "pictures"
"""Under this name the weights hold what pictures clicks were practised on; see `alike`."""

#: Of the budget, what is for names; clicks have the rest, and what names leave.
_WORDS_SHARE = 0.6
_BATCH = {"cpu": 1, "mps": 4, "cuda": 8}
#: What an object takes on the device while clicks on it are learnt from.
_PLAYED_BYTES = 400 << 20


class Practice:
    """A fit, new or gone on with.

    Parameters
    ----------
    head, decoder : torch.nn.Module
        The parent's.
    slices : list of PracticeSlice
        What to learn from.
    vectors : dict of str to numpy.ndarray
        Class → vector of its name.
    folder : pathlib.Path
        Of the checkpoint.
    settings, watch
        As `contracts.Learner.fit`.
    """

    def __init__(
        self,
        head: GroundingHead,
        decoder: ClickDecoder,
        slices: list[PracticeSlice],
        vectors: dict[str, np.ndarray],
        folder: Path,
        settings: Settings,
        watch: Watch,
    ) -> None:
        if not any(has_object(one) for s in slices for one in s.labels.values()):
            raise LearningError("Every mask is too small to practise clicks on; accept slices that show more of it.")
        device = torch.device(settings.device)
        self._head, self._decoder = (part.to(device).requires_grad_(True) for part in (head, decoder))
        batch = most_at_once(settings, _BATCH.get(device.type, 1), _PLAYED_BYTES)
        self._courses: dict[str, Course] = {
            "head": Words(self._head, slices, vectors),
            "decoder": Clicks(self._decoder, slices, batch),
        }
        self._path, self._settings, self._watch = folder / "checkpoint.safetensors", settings, watch
        self._state: dict[str, dict[str, Any]] = {name: {"steps": 0, "seconds": 0.0} for name in self._courses}
        self._saved = time.monotonic()
        self._take_up()

    def run(self) -> dict[str, Any]:
        """Practise until the courses end, or the budget is used up; returns figures."""
        seconds = self._settings.budget.seconds
        figures: dict[str, Any] = {}
        for name, share in (("head", _WORDS_SHARE), ("decoder", 1.0)):
            spent = sum(one["seconds"] for key, one in self._state.items() if key != name)
            self._run(name, share * seconds - spent)
            figures |= {f"{name}_{key}": self._state[name][key] for key in ("steps", "seconds")}
            if self._courses[name].recent:
                figures[f"{name}_dice"] = _mean(self._courses[name])
        self._checkpoint()
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in figures.items()}

    def parts(self) -> tuple[GroundingHead, ClickDecoder | None]:
        """Return the parts with what came of it; no decoder where there was nothing to practise."""
        for course in self._courses.values():
            course.part.load_state_dict(course.taught())
        return self._head.cpu(), self._decoder.cpu() if self._state["decoder"]["steps"] else None

    def tidy(self) -> None:
        """Remove the checkpoint; what it was for is written."""
        with suppress(OSError):
            self._path.unlink()

    def _run(self, name: str, seconds: float) -> None:
        """Practise one of the two, for so long."""
        course, state = self._courses[name], self._state[name]
        # Not the same slices again, where it goes on.
        rng = np.random.default_rng([self._settings.seed, int(state["steps"])])
        began, loss, progress = WORK_CLOCK.seconds() - state["seconds"], 0.0, 0.0

        def tell(loss: float) -> None:
            nonlocal began
            paused = WORK_CLOCK.seconds()
            self._tell(name, progress, loss)
            # Pauses do not count.
            began += WORK_CLOCK.seconds() - paused

        if not state["steps"] and not course.is_needed(tell):
            return
        # Nor does what was asked before the first step: a short budget is for learning.
        began = WORK_CLOCK.seconds() - state["seconds"]
        while True:
            state["seconds"] = WORK_CLOCK.seconds() - began
            by_steps = state["steps"] / course.most_steps
            progress = max(by_steps, state["seconds"] / max(seconds, 1e-3))
            if progress >= 1:
                break
            tell(loss)
            # The rate must not depend on the clock where the same weights are asked for: the budget only ends it.
            loss = self._step(course, rng, by_steps if self._settings.deterministic else progress, tell)
            state["steps"] += 1
            if time.monotonic() - self._saved > CHECKPOINT_S:
                self._checkpoint()

    def _tell(self, name: str, progress: float, loss: float) -> None:
        share = _WORDS_SHARE * progress if name == "head" else _WORDS_SHARE + (1 - _WORDS_SHARE) * progress
        figures = {"loss": loss} if loss else {}
        if self._courses[name].recent:
            figures["dice"] = _mean(self._courses[name])
        self._watch.step(0.2 + 0.8 * min(share, 1.0), **figures)

    def _step(self, course: Course, rng: np.random.Generator, progress: float, tell: Any) -> float:
        try:
            return course.step(rng, progress, tell)
        except torch.OutOfMemoryError as error:
            if course.batch == 1:
                raise LearningError(
                    f"The memory of the {self._settings.device} is too small for one slice; close other programs, or "
                    "learn on the CPU."
                ) from error
        course.batch //= 2
        course.part.zero_grad()
        torch.cuda.empty_cache()
        return self._step(course, rng, progress, tell)

    def _checkpoint(self) -> None:
        tensors = {f"{name}.{key}": v for name, course in self._courses.items() for key, v in course.state().items()}
        save_tensors(self._path, tensors, {"state": json.dumps(self._state)})
        self._saved = time.monotonic()

    def _take_up(self) -> None:
        """Go on from a checkpoint, if there is one."""
        from safetensors import SafetensorError, safe_open

        if not self._path.exists():
            return
        try:
            with safe_open(str(self._path), "pt", device=self._settings.device) as stored:
                tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a dict
                state = json.loads(stored.metadata()["state"])
            for name, course in self._courses.items():
                prefix = f"{name}."
                course.take_up({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
                self._state[name] |= {key: state[name][key] for key in self._state[name]}
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise LearningError(
                f"The checkpoint in {self._path.parent} is damaged; delete {self._path.name} to learn from the start."
            ) from error


def _mean(course: Course) -> float:
    """Return the mean Dice of a course's last answers."""
    return float(np.mean(course.recent))


def load_parts(path: Path, head: GroundingHead, decoder: ClickDecoder | None = None) -> np.ndarray | None:
    """Put stored weights into the head, and into the decoder where one is given and clicks were practised.

    Returns
    -------
    numpy.ndarray or None
        What is stored of the pictures that clicks were practised on, (n, 256); None where the decoder was left alone.

    Raises
    ------
    LearningError
        If they are damaged or gone.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = {key: value.float() for key, value in load_file(path).items()}
        names, clicks = (
            {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            for prefix in ("head.", "decoder.")
        )
        head.load_state_dict(names)
        if decoder is None or not clicks:
            return None
        decoder.load_state_dict(clicks)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise LearningError(f"The weights {path} are damaged or gone; go back a version, or learn again.") from error
    return tensors[SEEN].numpy() if SEEN in tensors else np.zeros((0, CHANNELS), np.float32)
