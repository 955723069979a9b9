"""What a network is taught: states, policies for doubt and readers' shares become numbers, and nothing unknown becomes one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from dicom_workflow.errors import DatasetError
from dicom_workflow.formats.answers import LabelState
from dicom_workflow.learning.data.channel import Sample
from dicom_workflow.learning.data.targets import UncertainPolicy, has_one_label, to_targets
from dicom_workflow.learning.training.optimization import Loss

torch.set_num_threads(1)
LABELS = ("Atelectasis", "Cardiomegaly", "Edema")
NAN = float("nan")


def sample(*states: str, truth: tuple[str, ...] = (), **fractions: float) -> Sample:
    """An image of which the states of `LABELS` are given in order."""
    known = {label: LabelState(state) for label, state in zip(LABELS, truth, strict=True)} if truth else None
    said = {label: LabelState(state) for label, state in zip(LABELS, states, strict=True)}
    return Sample("i", "p", "train", Path("i.dcm"), said, known, fractions)


def equal(found: np.ndarray, *rows: list[float]) -> None:
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array(rows, dtype=np.float32))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("ignore", [NAN, NAN]),
        ("ones", [1, 1]),
        ("zeros", [0, 0]),
        ("soft", [0.5, 0.5]),
        ("soft=0.15", [0.15, 0.15]),
        ("ignore,Atelectasis=ones", [1, NAN]),
        ("ones, Cardiomegaly=soft=0.7", [1, 0.7]),
        ("zeros,Atelectasis=ignore,Cardiomegaly=soft", [NAN, 0.5]),
    ],
)
def test_an_uncertain_label_counts_what_its_policy_says(policy, expected):
    equal(to_targets([sample("uncertain", "uncertain", "unknown")], LABELS, uncertain=policy), [*expected, NAN])
    equal(to_targets([sample("positive", "negative", "unknown")], LABELS, uncertain=policy), [1, 0, NAN])


def test_a_policy_that_was_read_before_is_taken_too():
    policy = UncertainPolicy.parse("ignore,Edema=zeros", LABELS)
    assert (policy.text, policy.of("Edema")) == ("ignore,Edema=zeros", 0.0)
    equal(to_targets([sample("positive", "uncertain", "uncertain")], LABELS, uncertain=policy), [1, NAN, 0])


def test_a_label_with_an_equals_sign_has_its_policy():
    labels = ("T", "T=1", "T=1=x")
    policy = UncertainPolicy.parse("zeros,T=1=ones,T=1=x=soft=0.25", labels)
    assert [policy.of(label) for label in labels] == [0, 1, 0.25]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("maybe", "expected one of ignore, ones, zeros, soft for all labels first, got 'maybe'"),
        ("", "for all labels first, got ''"),
        ("Edema=ones", "for all labels first, got 'Edema=ones'"),
        ("ignore,Mass=ones", "LABEL=POLICY with one of the labels Atelectasis, Cardiomegaly, Edema, got 'Mass=ones'"),
        ("ignore,ones", "LABEL=POLICY with one of the labels .* got 'ones'"),
        ("ignore,", "LABEL=POLICY with one of the labels .* got ''"),
        ("ignore,Edema=maybe", "expected one of ignore, ones, zeros, soft for Edema, got 'maybe'"),
        ("ignore,Edema=ones,Edema=zeros", "expected each label once, got Edema again"),
        ("soft=1.5", "expected soft=VALUE with a value from 0 to 1, got 'soft=1.5'"),
        ("soft=nan", "a value from 0 to 1"),
        ("soft=", "a value from 0 to 1"),
        ("ones=0.9", "expected one of ignore, ones, zeros, soft for all labels first, got 'ones=0.9'"),
    ],
)
def test_a_policy_that_there_is_not_is_refused_with_those_there_are(policy, message):
    with pytest.raises(DatasetError, match=f"^uncertain: .*{message}"):
        to_targets([], LABELS, uncertain=policy)


def test_readers_shares_take_the_place_of_states_where_they_are_known():
    samples = [sample("positive", "uncertain", "negative", Atelectasis=0.6667, Cardiomegaly=0.5), sample(*["positive"] * 3)]
    equal(to_targets(samples, LABELS, soft=True), [0.6667, 0.5, 0], [1, 1, 1])
    equal(to_targets(samples, LABELS), [1, NAN, 0], [1, 1, 1])


def test_judging_never_looks_at_shares():
    known = sample("positive", "negative", "negative", truth=("negative", "unknown", "positive"), Atelectasis=0.75)
    equal(to_targets([known], LABELS, of="truth"), [0, NAN, 1])
    equal(to_targets([sample(*["positive"] * 3)], LABELS, of="truth"), [NAN] * 3)
    for of, soft in (("truth", True), ("fractions", False)):
        with pytest.raises(DatasetError, match="expected targets of 'states' or 'truth', soft ones only of 'states'"):
            to_targets([known], LABELS, of=of, soft=soft)


def test_the_loss_of_a_share_is_least_where_the_probability_is_that_share():
    share = torch.tensor([[0.25, NAN]])
    chances = [0.05, 0.15, 0.25, 0.35, 0.95]
    losses = [float(Loss()(torch.logit(torch.tensor([[chance, 0.5]])), share)) for chance in chances]
    assert chances[int(np.argmin(losses))] == 0.25


def test_single_label_wants_exactly_one_positive():
    targets = np.array([[1, 0, NAN], [1, 1, 0], [0, 0, 0], [NAN, NAN, 1], [0.9, 0, 0]], dtype=np.float32)
    assert has_one_label(targets).tolist() == [True, False, False, True, False]
