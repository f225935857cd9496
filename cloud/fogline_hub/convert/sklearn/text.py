"""Documents as counts of words: CountVectorizer and TfidfVectorizer.

Words are found by onnxruntime's own Tokenizer (RE2), counted by TfIdfVectorizer of ONNX, and
weighed in float64. Lower case is StringNormalizer's, by the locale C.UTF-8, which every device
has: other locales fail where they are not installed. Patterns are converted where RE2 and Python's
`re` find the same words; characters of words are letters and numbers of Unicode, and `_`.
"""

import re
from typing import Any

import numpy as np
from onnx import helper

from fogline.errors import Unsupported
from fogline_hub.convert.sklearn.scaling import unit_rows
from fogline_hub.convert.sklearn.tensor import CONTRIB, FLOAT, STRING, Tensor

LOCALE = "C.UTF-8"
_WORD = r"[\p{L}\p{N}_]"
_PATTERNS = {
    r"(?u)\b\w\w+\b": _WORD + "{2,}",
    r"\b\w\w+\b": _WORD + "{2,}",
    r"(?u)\b\w+\b": _WORD + "+",
    r"\b\w+\b": _WORD + "+",
    r"\w+": _WORD + "+",
    r"(?u)\w+": _WORD + "+",
    r"\w\w+": _WORD + "{2,}",
    r"(?u)\b\w\w\w+\b": _WORD + "{3,}",
}
_PLAIN = re.compile(r"(\[[A-Za-z0-9_-]+\][+]?)+")
PAD = "\N{NULL}"


def counts(model: Any, documents: Tensor) -> Tensor:
    """CountVectorizer: float64 [documents, words].

    Args:
        model: The fitted vectorizer.
        documents: Text [rows, 1].

    Raises:
        Unsupported: it finds words by what is not converted.
    """
    _check(model)
    made = documents.vector()
    if model.lowercase:
        made = made.op("StringNormalizer", case_change_action="LOWER", locale=LOCALE)
    words = _words(made, _expression(model.token_pattern))
    grams = sorted(model.vocabulary_, key=lambda word: (word.count(" "), model.vocabulary_[word]))
    lengths = [gram.count(" ") + 1 for gram in grams]
    low, high = model.ngram_range
    found = words.op(
        "TfIdfVectorizer",
        kind=FLOAT,
        width=len(grams),
        mode="TF",
        min_gram_length=low,
        max_gram_length=high,
        max_skip_count=0,
        pool_strings=[word for gram in grams for word in gram.split(" ")],
        ngram_counts=_starts(lengths, high),
        ngram_indexes=[int(model.vocabulary_[gram]) for gram in grams],
    ).double()
    return (found > 0.0).double() if model.binary else found


def _starts(lengths: list[int], high: int) -> list[int]:
    """Where the grams of 1, 2, ... words begin among all words of the pool."""
    starts, place = [], 0
    for length in range(1, high + 1):
        starts.append(place)
        place += length * lengths.count(length)
    return starts


def _words(documents: Tensor, expression: str) -> Tensor:
    graph = documents.graph
    name = f"{documents.name}.words"
    graph.nodes.append(
        helper.make_node(
            "Tokenizer",
            [documents.name],
            [name],
            domain=CONTRIB,
            mark=0,
            mincharnum=1,
            pad_value=PAD,
            tokenexp=expression,
        )
    )
    return Tensor(graph, name, STRING)


def _expression(pattern: str) -> str:
    known = _PATTERNS.get(pattern)
    if known is not None:
        return known
    if _PLAIN.fullmatch(pattern):
        return pattern
    raise Unsupported(
        "this token_pattern is not converted; the default, or classes of ASCII characters such as "
        "[a-zA-Z]+ are"
    )


def _check(model: Any) -> None:
    name = type(model).__name__
    refusals = (
        (callable(model.analyzer) or model.analyzer != "word", "analyzer='word'"),
        (model.tokenizer is not None, "token_pattern in the place of a tokenizer"),
        (model.preprocessor is not None, "no preprocessor"),
        (model.strip_accents is not None, "strip_accents=None"),
        (
            model.stop_words is not None and model.ngram_range[1] > 1,
            "stop words or ngrams, not both",
        ),
        (any(" " in w for w in model.vocabulary_) and model.ngram_range == (1, 1), "plain words"),
    )
    for refused, way_out in refusals:
        if refused:
            raise Unsupported(f"{name} is converted with {way_out}")


def weighed(model: Any, found: Tensor) -> Tensor:
    """TfidfTransformer."""
    made = found
    if model.sublinear_tf:
        is_there = made > 0.0
        safe = is_there.choose(made, made.constant(1.0))
        made = is_there.choose(safe.log() + 1.0, made)
    if model.use_idf:
        made = made * np.asarray(model.idf_)[None, :]
    return unit_rows(made, model.norm) if model.norm else made


def tfidf(model: Any, documents: Tensor) -> Tensor:
    return weighed(model._tfidf, counts(model, documents))  # noqa: SLF001


TRANSFORMERS = {"TfidfTransformer": weighed}
TEXT_TRANSFORMERS = {"CountVectorizer": counts, "TfidfVectorizer": tfidf}
