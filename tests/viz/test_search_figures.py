"""Figures of search: what they say, for one hit as for many, and without any."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from dicom_workflow.search.audit.duplicates import Duplicate
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.search.evaluation import Truth, evaluate, similarities
from dicom_workflow.search.query import Bucket, Facet, ImageHit, ImageHits
from dicom_workflow.viz import search


def texts(figure: Figure) -> str:
    figure.canvas.draw()
    found = [figure.get_suptitle()]
    for axes in figure.axes:
        found += [axes.get_title("left"), axes.get_title(), axes.get_xlabel()]
        found += [label.get_text() for label in (*axes.get_yticklabels(), *axes.texts)]
    return "\n".join(found)


def image(number: int) -> ImageDocument:
    return ImageDocument(image_id=str(number), labels_positive=("Edema",) if number % 2 else ())


def load(document: ImageDocument) -> np.ndarray:
    return np.full((8, 6), int(document.image_id) / 100, np.float32)


@pytest.mark.parametrize("count", [0, 1, 12])
def test_the_query_stands_before_its_hits_with_similarity_and_labels(count: int) -> None:
    hits = ImageHits(tuple(ImageHit(image(number + 1), 0.9) for number in range(count)), "space", exact=True)
    said = texts(search.similar_figure(image(0), hits, load))
    assert f"An image and the {min(count, 7)} most similar ones of other patients" in said
    assert said.count("0.900") == min(count, 7)
    assert ("Edema" in said) is (count > 0)


def test_facets_have_a_sign_beside_their_color() -> None:
    facets = {
        "positive_labels": Facet("positive_labels", (Bucket("Edema", 3), Bucket("Fracture", 1))),
        "negative_labels": Facet("negative_labels", (Bucket("No Finding", 9),), exact=False),
    }
    said = texts(search.facet_figure(facets))
    assert "+ stated" in said
    assert "− ruled out, estimated" in said
    assert "Edema" in said
    assert "No Finding" not in said  # that it is ruled out is a double negation


def test_retrieval_names_every_method_with_its_value() -> None:
    generator = np.random.default_rng(0)
    labels = tuple(frozenset({"a"} if number % 2 else {"b"}) for number in range(20))
    truth = Truth(tuple(map(str, range(20))), labels, tuple(map(str, range(20))))
    vectors = generator.standard_normal((20, 4)).astype(np.float32)
    vectors[::2] += 4
    said = texts(search.retrieval_figure(evaluate({"ours": similarities(vectors)}, truth, resamples=20)))
    assert "The most similar image of another patient shows the same findings" in said
    assert "share of 20 images (P@1)" in said
    assert "ours" in said
    assert "any image (chance)" in said


@pytest.mark.parametrize("count", [0, 1, 9])
def test_pairs_say_what_differs_and_how_many_cross_a_split(count: int) -> None:
    pairs = [Duplicate("1", "2", "near", 0.97, ("window",), splits=("train", "test")) for _ in range(count)]
    said = texts(search.duplicates_figure(pairs, {"1": image(1), "2": image(2)}, load))
    title = f"Pairs that look like one exposure: {count}, in two parts of a split: {count}"
    assert (title if count else "No exposure is stored twice") in said
    assert said.count("0.97 window") == min(count, 8)
