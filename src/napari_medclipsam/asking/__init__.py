"""Questions about a region or a slice, answered by a model, with how sure it is: "What is this?" and closed questions.

``naming.what_is_this``
    Ranks the user's own words for a region.
``sentences.parse_question``
    A closed question in one of a few fixed forms; whatever else is refused.
``answering.Asked``
    A grounder and an encoder, and what they answer.
``answers``
    ``Answer`` and its confidence in words. "can't tell" is an answer.
"""
