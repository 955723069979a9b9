"""Near duplicates of an archive: one exposure in several files, with another window, size, polarity, encoding or crop.

Duplicates leak between the parts of a split, count one patient twice, and let one report speak for two images. Equal files and
equal pixels are found by their hashes; the others by `fingerprints`: briefly every image against every other, then closely the
few that look alike.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from tqdm.auto import tqdm

from dicom_workflow.archive.thread_pool import map_threads
from dicom_workflow.dicom.decoding import stored_values
from dicom_workflow.errors import WorkflowError
from dicom_workflow.search.audit import fingerprints
from dicom_workflow.search.audit.fingerprints import CROPS, SIDE_PX, Detail, Match, Whitening
from dicom_workflow.search.documents import ImageDocument

Kind = Literal["file", "pixels", "near"]
Load = Callable[[ImageDocument], Dataset]

CANDIDATE_SIMILARITY = 0.6
"""Of whitened coarse fingerprints; a pair below it is not looked at closer."""
CANDIDATES_PER_IMAGE = 8
_FIRST = 2  # of those that are nearest by the first components: looked at closer in any case
LEAST_SIMILARITY, MOST_SIMILARITY = 0.75, 0.93
"""Between these lies the similarity from which a pair is a duplicate; where, depends on the archive: see `_threshold`."""

_SAMPLE = 4000  # images that the whitening is estimated from
_NULL_PAIRS = 300
_MARGIN_DEVIATIONS = 1.6
_BLOCK = 128
_COMPONENTS = 64  # of 256, that all pairs are compared by
_FIRST_CROPS = (0, 5, 6, 9, 10, 15, len(CROPS))  # whole, a corner each, the middle, and what lies inside a frame
_NEAREST = 128  # images of these that are compared by all components and crops
_FEW = 40  # images; their covariance says little, so that all pairs are looked at
_DETAILS = 1000  # images whose detail is kept, 280 kB each


@dataclass(frozen=True)
class Duplicate:
    """Two images of one exposure. Equal files have the kind ``file``, equal stored pixels ``pixels``."""

    first: str
    """Image id; of the two, the one that comes first in the archive."""
    second: str
    kind: Kind
    similarity: float
    differences: tuple[str, ...] = ()
    """What differs: ``size``, ``window``, ``polarity``, ``inverted``, ``mirrored``, ``crop``, ``transfer syntax``."""
    same_patient: bool | None = None
    """None where the patient of either is unknown."""
    splits: tuple[str, str] = ("", "")

    @property
    def leaks(self) -> bool:
        """Whether the two are in different parts of a split, so that a test would measure memory."""
        return all(self.splits) and self.splits[0] != self.splits[1]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return {**asdict(self), "leaks": self.leaks}


@dataclass(frozen=True)
class DuplicateReport:
    """The duplicates of an archive, the most certain first."""

    pairs: tuple[Duplicate, ...]
    images: int
    """Images that were compared."""
    threshold: float
    """Similarity from which a pair counts as a near duplicate here."""
    refused: Mapping[str, str]
    """Image id → why it could not be read."""

    def groups(self) -> list[tuple[str, ...]]:
        """Return the ids of the images of one exposure together, the largest group first."""
        leader: dict[str, str] = {}

        def find(name: str) -> str:
            while leader.setdefault(name, name) != name:
                name = leader[name]
            return name

        for pair in self.pairs:
            leader[find(pair.second)] = find(pair.first)
        groups: dict[str, list[str]] = {}
        for name in leader:
            groups.setdefault(find(name), []).append(name)
        return sorted((tuple(sorted(group)) for group in groups.values()), key=lambda group: (-len(group), group))


@dataclass(frozen=True)
class _Seen:
    """What is kept of an image beside its thumbnail."""

    pixels_hash: str
    shape: tuple[int, int]
    photometric: str
    transfer_syntax: str


def find_duplicates(
    images: Sequence[ImageDocument],
    load: Load,
    *,
    workers: int = 2,
    progress: bool = True,
) -> DuplicateReport:
    """Return the pairs of images that show one exposure.

    Parameters
    ----------
    images : sequence of ImageDocument
        With unique image ids. `sha256`, `patient_key` and `split` are used where they are known.
    load : callable
        Returns the data set of an image, pixels included. An image that it cannot read is reported and left out.
    workers : int
        Threads that read images.
    progress : bool
        Show progress bars.

    Notes
    -----
    Memory is 5 kB an image; thumbnails, 26 kB an image, are in a temporary file. Processor time of one core, beside reading
    the images: 13 s for 1,000 phantoms, 125 s for 5,000, 790 s for 20,000. Nearly all of it goes into the pairs that are
    looked at, at most ten an image and 3 to 5 ms each; the brief look at every pair takes 0.1 microseconds.
    """
    with tempfile.TemporaryFile() as file:
        thumbnails: NDArray[np.uint8] = np.memmap(file, np.uint8, "w+", shape=(max(1, len(images)), SIDE_PX, SIDE_PX))
        seen, refused = _read(images, load, thumbnails, workers, progress)
        rows = [row for row in range(len(images)) if seen[row] is not None]
        exact = dict(_exact_pairs(images, seen, rows))
        if not rows:
            return DuplicateReport((), 0, MOST_SIMILARITY, refused)
        comparison = _Comparison(thumbnails, rows)
        chosen = comparison.candidates(progress)
        threshold = _threshold(comparison) if len(rows) > 2 else MOST_SIMILARITY
        pairs = []
        for pair in tqdm(sorted(chosen.keys() | exact.keys()), desc="compare pairs", unit="pair", disable=not progress):
            match = comparison.match(*pair, _View() if pair in exact else chosen[pair])
            if pair in exact or match.similarity >= threshold:
                pairs.append(_duplicate(images, seen, pair, exact.get(pair, "near"), match))
        pairs.sort(key=lambda pair: (-pair.similarity, pair.first, pair.second))
        return DuplicateReport(tuple(pairs), len(rows), round(threshold, 4), refused)


def _read(
    images: Sequence[ImageDocument], load: Load, thumbnails: NDArray[np.uint8], workers: int, progress: bool
) -> tuple[list[_Seen | None], dict[str, str]]:
    seen: list[_Seen | None] = [None] * len(images)
    refused: dict[str, str] = {}

    def read(row: int) -> None:
        try:
            dataset = load(images[row])
            thumbnails[row] = fingerprints.thumbnail(dataset)
            values = stored_values(dataset)
        except WorkflowError as error:
            refused[images[row].image_id] = str(error)
            return
        digest = hashlib.sha256(f"{values.shape} {values.dtype} ".encode() + values.tobytes()).hexdigest()
        syntax = str(getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", ""))
        seen[row] = _Seen(digest, (values.shape[0], values.shape[1]), str(dataset.PhotometricInterpretation), syntax)

    map_threads(read, len(images), threading.Event(), workers=workers, label="read images", progress=progress)
    return seen, refused


def _exact_pairs(
    images: Sequence[ImageDocument], seen: Sequence[_Seen | None], rows: Sequence[int]
) -> Iterator[tuple[tuple[int, int], Kind]]:
    """Yield each row and the next one with equal pixels, as a chain: three equal files are two pairs."""
    by_hash: dict[str, list[int]] = {}
    for row in rows:
        by_hash.setdefault(seen[row].pixels_hash, []).append(row)  # type: ignore[union-attr]
    for equal in by_hash.values():
        for first, second in pairwise(equal):
            same_file = images[first].sha256 and images[first].sha256 == images[second].sha256
            yield (first, second), "file" if same_file else "pixels"


class _View(NamedTuple):
    """How two images seem to lie: which part of the second one the first one shows, or the other way round if swapped."""

    crop: int = 0
    """Index of the boxes of the larger image."""
    inverted: bool = False
    mirrored: bool = False
    swapped: bool = False


class _Comparison:
    """The images of an archive, ready to be compared."""

    def __init__(self, thumbnails: NDArray[np.uint8], rows: Sequence[int]) -> None:
        self._thumbnails = thumbnails
        self.rows = np.array(rows, np.int64)
        blocks = (self._thumbnails[self.rows[at : at + _BLOCK]] for at in range(0, len(rows), _BLOCK))
        self._plain = np.concatenate([fingerprints.coarse(block, CROPS[0]) for block in blocks])
        step = max(1, len(rows) // _SAMPLE)
        self._detail = lru_cache(_DETAILS)(lambda row: Detail.of(self._thumbnails[row]))
        self._white = Whitening(self._plain[::step]) if len(rows) > _FEW else _unchanged

    def _boxes(self, rows: NDArray[np.int64]) -> list[NDArray[np.float64]]:
        """Return the parts that are looked at: the crops, the same for all images, and what lies inside a frame."""
        return [*CROPS, np.stack([fingerprints.content_box(self._thumbnails[row]) for row in rows])]

    def _seen_as(self, plain: NDArray[np.float32]) -> list[tuple[bool, bool, NDArray[np.float32]]]:
        """Return whether inverted, whether mirrored, and the whitened fingerprints, of each way an image may be shown."""
        flipped = fingerprints.mirrored(plain)
        ways = ((False, False, plain), (False, True, flipped), (True, False, -plain), (True, True, -flipped))
        return [(inverted, mirrored, self._white(given)) for inverted, mirrored, given in ways]

    def candidates(self, progress: bool) -> dict[tuple[int, int], _View]:
        """Return the pairs of rows, the smaller first, that are similar enough to be looked at, and how they seem to lie.

        Every image is compared with every other by the first components of the fingerprints and a few of the crops alone;
        what is nearest by these is compared by all of them.
        """
        ways = self._seen_as(self._plain)
        wholes = np.stack([whole for *_, whole in ways])
        first = np.concatenate([_first_components(whole) for whole in wholes]).T  # (components, ways * images)
        pairs: dict[tuple[int, int], tuple[float, _View]] = {}
        few = len(self.rows) <= _FEW
        least = -0.99 if few else CANDIDATE_SIMILARITY
        count = len(self.rows) if few else CANDIDATES_PER_IMAGE
        for begin in tqdm(range(0, len(self.rows), _BLOCK), desc="compare fingerprints", unit="block", disable=not progress):
            rows = self.rows[begin : begin + _BLOCK]
            parts = [self._white(fingerprints.coarse(self._thumbnails[rows], boxes)) for boxes in self._boxes(rows)]
            nearest = self._nearest(begin, [parts[at] for at in _FIRST_CROPS], first)
            for place, near in enumerate(nearest):
                scores = np.stack([part[place] for part in parts]) @ wholes[:, near].transpose(0, 2, 1)  # (ways, parts, near)
                scores = scores.reshape(-1, len(near))
                view, best = scores.argmax(0), scores.max(0)
                for at in {*np.argsort(-best)[:count].tolist(), *range(min(_FIRST, len(near)))}:
                    if best[at] < least:
                        continue
                    way, crop = divmod(int(view[at]), len(parts))
                    inside, whole_row = int(rows[place]), int(self.rows[near[at]])
                    pair = (min(inside, whole_row), max(inside, whole_row))
                    seen = (float(best[at]), _View(crop, *ways[way][:2], inside < whole_row))
                    pairs[pair] = max(pairs.get(pair, seen), seen)
        return {pair: view for pair, (_, view) in pairs.items()}

    def _nearest(self, begin: int, parts: Sequence[NDArray[np.float32]], first: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return for each image of a block the places of others, the nearest by the first components first."""
        size = len(parts[0])
        best = np.full((size, len(self.rows)), -1.0, np.float32)
        for part in parts:
            scores = (_first_components(part) @ first).reshape(size, -1, len(self.rows))
            np.maximum(best, scores.max(1), out=best)
        best[np.arange(size), begin + np.arange(size)] = -2.0
        count = min(_NEAREST, len(self.rows) - 1)
        if not count:
            return np.zeros((size, 0), np.int64)
        nearest = np.argpartition(-best, count - 1, axis=1)[:, :count]
        return np.take_along_axis(nearest, np.argsort(-np.take_along_axis(best, nearest, 1), axis=1), 1)

    def match(self, first: int, second: int, view: _View) -> Match:
        """Return how the images of two rows match when their registration begins with a view."""
        one, other = (second, first) if view.swapped else (first, second)
        box = CROPS[view.crop] if view.crop < len(CROPS) else fingerprints.content_box(self._thumbnails[other])
        details = self._detail(one), self._detail(other)
        return fingerprints.compare(*details, box=box, inverted=view.inverted, mirrored=view.mirrored)

    def close_strangers(self, count: int) -> list[tuple[int, int]]:
        """Return pairs of images and their third and fourth neighbors, which are rarely of the same exposure."""
        whole, pairs = self._white(self._plain), []
        for place in range(0, len(self.rows), max(1, len(self.rows) * 2 // count)):
            nearest = np.argsort(-(whole @ whole[place]))[3:5]
            pairs += [(int(self.rows[place]), int(self.rows[near])) for near in nearest]
        return pairs


def _first_components(white: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the components of most variance, of unit length; whitened fingerprints have them last."""
    kept = white[:, -_COMPONENTS:]
    return kept / np.maximum(np.linalg.norm(kept, axis=1, keepdims=True), np.float32(1e-6))


def _unchanged(fingerprints: NDArray[np.float32]) -> NDArray[np.float32]:
    return fingerprints


def _threshold(comparison: _Comparison) -> float:
    """Return the similarity that different exposures of this archive do not reach.

    Phantoms share most of their anatomy, real patients hardly any. So similar pairs that are not the nearest are compared, and
    the limit lies some standard deviations above their middle, after Fisher's transformation: more in a larger archive, where
    the most similar of n strangers lies about sqrt(2 ln n) deviations off. Middle and deviation are taken from quantiles,
    which a few true duplicates among these pairs do not move.
    """
    pairs = comparison.close_strangers(_NULL_PAIRS)
    if not pairs:
        return MOST_SIMILARITY
    similarities = np.array([comparison.match(*pair, _View()).similarity for pair in pairs])
    middle, upper = np.quantile(np.arctanh(np.clip(similarities, -0.999, 0.999)), [0.5, 0.84])
    deviations = _MARGIN_DEVIATIONS + np.sqrt(2 * np.log(len(comparison.rows)))
    return float(np.clip(np.tanh(middle + deviations * (upper - middle)), LEAST_SIMILARITY, MOST_SIMILARITY))


def _duplicate(
    images: Sequence[ImageDocument], seen: Sequence[_Seen | None], rows: tuple[int, int], kind: Kind, match: Match
) -> Duplicate:
    one, two = (images[row] for row in rows)
    first, second = (seen[row] for row in rows)
    assert first is not None and second is not None  # noqa: S101 - unread images are in no pair
    edges = (*match.rows, *match.columns)
    differs = {
        "size": first.shape != second.shape,
        "window": kind == "near" and match.gray_difference > 0.015,
        "polarity": first.photometric != second.photometric,
        "inverted": match.inverted,
        "mirrored": match.mirrored,
        "crop": max(abs(edge - whole) for edge, whole in zip(edges, (0, 1, 0, 1), strict=True)) > 0.008,
        "transfer syntax": first.transfer_syntax != second.transfer_syntax,
    }
    return Duplicate(
        first=one.image_id,
        second=two.image_id,
        kind=kind,
        similarity=round(match.similarity, 4),
        differences=tuple(name for name, is_different in differs.items() if is_different),
        same_patient=one.patient_key == two.patient_key if one.patient_key and two.patient_key else None,
        splits=(one.split, two.split),
    )
