"""Closed questions: presence by the grounder, its map the evidence; properties by the encoder against opposites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_medclipsam.asking.answers import CANT_TELL, UNCALIBRATED, Answer, Candidate, Limits
from napari_medclipsam.asking.naming import LIMITS, answer_of, is_calibrated, ranked, what_is_this
from napari_medclipsam.asking.opposites import Opposites
from napari_medclipsam.asking.regions import UNUSED, checked_region
from napari_medclipsam.asking.sentences import Question, parse_question
from napari_medclipsam.errors import ModelError, PromptError
from napari_medclipsam.images.intensity import Looks
from napari_medclipsam.images.slice import Slice
from napari_medclipsam.models.contracts import KnowsPhrases, RegionEncoder, SaliencyMap, TextGrounder
from napari_medclipsam.models.region_encoder import region_encoder_of
from napari_medclipsam.saliency.prompt_book import is_readable

# On the pictures held out, 0.99 of the answers above 0.95 are right, and about half of those below 0.75.
PRESENCE_LIMITS = Limits(sure=0.95, likely=0.85, least=0.75)


@dataclass(frozen=True, eq=False)
class Asked:
    """Models that answer questions.

    Parameters
    ----------
    grounder : TextGrounder
        Says whether something is there, and where.
    encoder : RegionEncoder or None
        Compares regions with words; None: only presence can be asked after.
    looks_like : str
        What the images seem to be, see `intensity.looks_like`: of CT a model that was never shown one can't tell
        anything, however sure it is, and of a mask none can.
    """

    grounder: TextGrounder
    encoder: RegionEncoder | None
    looks_like: Looks = ""

    @classmethod
    def of(cls, grounder: TextGrounder, looks_like: Looks = "") -> Asked:
        """Return what a grounder can answer with: it is its own encoder, or has one, or wraps one."""
        return cls(grounder, region_encoder_of(grounder), looks_like)

    def name(self, image: Slice, mask_yx: np.ndarray | None, words: Sequence[str]) -> Answer:
        """Rank words for a region; see `naming.what_is_this`."""
        return self._unless_unfit(what_is_this(self._require_encoder(), image, mask_yx, words, knows=self.knows))

    def answer(self, image: Slice, mask_yx: np.ndarray | None, question: Question | str) -> Answer:
        """Answer a closed question.

        Parameters
        ----------
        image : Slice
            What the reader sees.
        mask_yx : numpy.ndarray or None
            bool (height, width), the region; None for the whole slice. Left out where the question means the slice.
        question : Question or str
            Of `sentences.parse_question`.

        Raises
        ------
        PromptError
            If the question is not understood, chooses among names that it does not give, or the region is empty.
        ModelError
            If the model can't compare regions with words and the question needs it.
        """
        if isinstance(question, str):
            question = parse_question(question)
        if question.kind == "naming":
            raise PromptError('"What is this?" chooses among your own names; give two or more.')
        region_yx, notes = checked_region(mask_yx if question.wants_region else None, image.shape_yx)
        if mask_yx is not None and not question.wants_region:
            notes = (UNUSED,)
        if question.kind == "choice" and question.opposites is None:
            named = self.name(image, region_yx, question.words)
            return replace(named, question=question.text, notes=(*notes, *named.notes))
        if question.opposites is not None:
            told = self._opposite(image, region_yx, question, question.opposites)
        else:
            told = self._presence(image, region_yx, question.text, question.words[0])
        return self._unless_unfit(replace(told, notes=(*notes, *told.notes)))

    def _unless_unfit(self, told: Answer) -> Answer:
        """Return the answer; of a mask, and of CT where whoever answered was never shown one, that it can't tell."""
        seen = told.saliency
        # Of words that are not known nothing was seen, and that is said.
        sees = seen is None or seen.knows_ct or not seen.known
        compares = not told.candidates or getattr(self.encoder, "knows_ct", True)
        if self.looks_like == "mask":
            reason = "this holds only a few values, as a mask does and no image."
        elif self.looks_like == "CT" and not (sees and compares):
            reason = "this looks like CT, which the model was not taught."
        else:
            return told
        return replace(told, verdict=CANT_TELL, confidence="", score=0.0, candidates=(), reason=reason)

    def knows(self, words: str) -> bool:
        """Tell whether the models know words."""
        vocabulary = self._vocabulary
        return is_readable(words) if vocabulary is None else vocabulary.nearest_known(words)[0]

    @property
    def _vocabulary(self) -> KnowsPhrases | None:
        # What a project has learnt has that of the model inside.
        for model in (self.grounder, self.encoder):
            if isinstance(model, KnowsPhrases):
                return model
        return None

    def _require_encoder(self) -> RegionEncoder:
        if self.encoder is None:
            raise ModelError(
                f"The model {self.grounder.name!r} can't compare a region with words; it can be asked whether "
                "something is there. Use lite or a CLIP model."
            )
        return self.encoder

    def _presence(self, image: Slice, region_yx: np.ndarray | None, text: str, word: str) -> Answer:
        """Answer whether something is in a slice, or in a region of it."""
        seen = self.grounder.saliency(image, word)
        calibrated = is_calibrated(self.grounder)
        notes: tuple[str, ...] = () if calibrated else (UNCALIBRATED,)
        probability = seen.presence
        if region_yx is not None:
            # There, and not elsewhere in the slice.
            probability *= float(seen.values_yx[region_yx].max())
            if seen.present and probability < 0.5:
                notes = (*notes, "It is seen elsewhere in this slice.")
        score = max(probability, 1 - probability)
        confidence = PRESENCE_LIMITS.confidence(score, calibrated)
        unheard = _why_not(seen) or (self._half_heard(word) if probability >= 0.5 else "")
        if unheard:
            score = 0.0
        reason = unheard or ("" if confidence else f"the model is undecided (presence {probability:.2f}).")
        verdict = CANT_TELL if reason else "yes" if probability >= 0.5 else "no"
        return Answer(text, verdict, "" if reason else confidence, score, (), reason, notes, region_yx, seen)

    def _half_heard(self, phrase: str) -> str:
        """Return why what is seen may be less than what was asked for; "" where every word is known."""
        vocabulary = self._vocabulary
        if vocabulary is None or not vocabulary.nearest_known(phrase)[0]:
            return ""
        told = ", ".join(f'"{word}"' for word in vocabulary.unheard(phrase))
        return f"the model does not know {told}; without that, it sees what was asked for." if told else ""

    def _opposite(self, image: Slice, region_yx: np.ndarray | None, question: Question, group: Opposites) -> Answer:
        """Answer which of a group of words fits, or whether one of them does."""
        encoder = self._require_encoder()
        has_vocabulary = self._vocabulary is not None
        noun = group.told_of(question.noun) if has_vocabulary else question.noun
        if noun is None or (has_vocabulary and not group.shown):
            reason = f"the model was not taught to tell {' from '.join(group.choices)}."
            if group.shown:
                reason = f'the model tells this of a {group.shown} only, not of "{question.noun}".'
            return Answer(question.text, CANT_TELL, "", 0.0, (), reason, (), region_yx)
        seen = self.grounder.saliency(image, noun) if has_vocabulary else None
        if seen is not None and (told := self._not_shown(seen, question, group, region_yx)) is not None:
            return told
        template = group.phrase if has_vocabulary else group.other_phrase
        if not group.are_nouns and noun not in ("", group.shown):
            template = "{} " + noun
        choices = [group.choice(word) or word for word in question.words]
        names = list(group.choices) if question.kind != "choice" else choices
        phrases = {name: template.format(name) for name in names if self.knows(template.format(name))}
        candidates = ranked(encoder, image, region_yx, phrases)
        if question.kind != "choice":
            # Yes or no: the word against all of the others.
            told = self._yes_no(question, choices[0], candidates, region_yx)
        else:
            told = answer_of(question.text, encoder, candidates, LIMITS, candidates, (), region_yx)
        return replace(_not_lightly(told, group), saliency=seen)

    def _not_shown(
        self, seen: SaliencyMap, question: Question, group: Opposites, region_yx: np.ndarray | None
    ) -> Answer | None:
        """Return the answer where what the words are said of is not seen in the slice; None where it is."""
        if reason := _why_not(seen):
            return Answer(question.text, CANT_TELL, "", 0.0, (), reason, (), region_yx, seen)
        if seen.present and seen.presence >= PRESENCE_LIMITS.least:
            return None
        score = 1 - seen.presence
        confidence = PRESENCE_LIMITS.confidence(score, is_calibrated(self.grounder))
        note = f"No {seen.text} is seen in this slice."
        # Without a breast lesion there is no malignant one; of "a malignant lesion" that says nothing.
        if question.kind == "presence" and confidence and (question.noun or group.are_nouns):
            return Answer(question.text, "no", confidence, score, (), "", (note,), region_yx, seen)
        sees = "sees none" if confidence else f"is undecided whether there is one (presence {seen.presence:.2f})"
        reason = f"the model tells this of a {group.shown} only, and {sees} in this slice."
        return Answer(question.text, CANT_TELL, "", score, (), reason, (), region_yx, seen)

    def _yes_no(
        self,
        question: Question,
        wanted: str,
        candidates: tuple[Candidate, ...],
        region_yx: np.ndarray | None,
    ) -> Answer:
        """Return whether a word fits better than all of its opposites together."""
        encoder = self._require_encoder()
        own = next((candidate for candidate in candidates if candidate.words == wanted), None)
        if own is None or len(candidates) < 2:
            reason = "the model does not know these words."
            return Answer(question.text, CANT_TELL, "", 0.0, candidates, reason, (), region_yx)
        others = Candidate(f"not {wanted}", 1 - own.probability, max(c.cosine for c in candidates if c is not own))
        compared = tuple(sorted((own, others), key=lambda candidate: -candidate.probability))
        told = answer_of(question.text, encoder, compared, LIMITS, candidates, (), region_yx)
        verdict = told.verdict if not told.is_told else "yes" if told.verdict == wanted else "no"
        return replace(told, verdict=verdict)


def _not_lightly(told: Answer, group: Opposites) -> Answer:
    """Return the answer, or that it can't tell where the graver word would be ruled out by less than a sure one."""
    best = max(told.candidates, key=lambda candidate: candidate.probability, default=None)
    if best is None or not told.is_told or told.confidence == "sure" or group.grave in ("", best.words):
        return told
    reason = f"{best.words} is more probable ({best.probability:.2f}), too little to rule {group.grave} out."
    return replace(told, verdict=CANT_TELL, confidence="", reason=reason)


def _why_not(seen: SaliencyMap) -> str:
    """Return why a map answers nothing; "" where it does."""
    if not seen.known:
        nearest = f"; the nearest it knows is {seen.nearest_phrase}" if seen.nearest_phrase else ""
        return f'the model does not know "{seen.text}"{nearest}.'
    if seen.presence >= 0.5 and not seen.depends_on_text:
        return f'what the model sees hardly depends on the words "{seen.text}".'
    return ""
