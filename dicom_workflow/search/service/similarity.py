"""Why two images are similar: how much each region of one adds to its similarity to the other.

An embedding is the average of the network's last features over the image, so a cosine similarity is the average of what each
place adds to it: the map is exact, and as coarse as these features, one value for 32 pixels of the network's square. It shows
where the network sees the same, which need not be where the finding is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from dicom_workflow.errors import DicomError, SearchError
from dicom_workflow.formats.json_schema import shown
from dicom_workflow.search.service.images import ImageLoader, check_pixels
from dicom_workflow.search.service.limits import Limits
from dicom_workflow.search.service.uploads import UploadedImages, is_upload
from dicom_workflow.search.store.protocol import SearchStore

if TYPE_CHECKING:
    from dicom_workflow.learning.model.bundle import Bundle
    from dicom_workflow.search.embeddings import Embedder

MAP_PX = 48
"""The longer side of a map. Between places values are interpolated."""


@dataclass(frozen=True)
class SimilarityMap:
    """`values` has the proportions of the image, shape (rows, columns), float32 in [0, 1]: 1 is the place that adds most."""

    values: NDArray[np.float32]


class SimilarityMaps:
    """Maps of images of a store and of uploads. The `Executor` asks for one at a time.

    Parameters
    ----------
    embedder : Embedder
        Of the space in which the store's embeddings are compared.
    store : SearchStore
    loader : ImageLoader
        Reads the files behind the index.
    uploads : UploadedImages
    limits : Limits
    """

    def __init__(
        self, embedder: Embedder, store: SearchStore, loader: ImageLoader, uploads: UploadedImages, limits: Limits
    ) -> None:
        self._embedder, self._store, self._loader = embedder, store, loader
        self._uploads, self._limits = uploads, limits

    def __call__(self, image_id: str, to: str, subject: str) -> SimilarityMap:
        """Return what each region of an image adds to its similarity to another one.

        Parameters
        ----------
        image_id, to : str
            Of the index or of uploads.
        subject : str
            Who asks: an upload is seen by who sent it alone.

        Raises
        ------
        SearchError
            One of them has no embedding of this model, or its file cannot be shown.
        """
        from dicom_workflow.dicom.letterbox import Framing, fitted
        from dicom_workflow.dicom.reading import read_dataset
        from dicom_workflow.learning.data.images import decode
        from dicom_workflow.learning.model.architectures import architecture_of

        bundle = self._embedder.bundle
        direction = self._direction(to, subject)
        try:
            dataset = read_dataset(self._file(image_id, subject))
            shape = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
            check_pixels(*shape, self._limits.upload_pixels)
            image = decode(dataset, bundle.size_px, bundle.preprocessing_version)
        except DicomError:
            raise SearchError("This image cannot be shown: it is damaged, too large, or of an unknown kind.") from None
        places = contributions(bundle, image, direction, self._offset(direction))
        layer = architecture_of(bundle.architecture).saliency_layers[0]  # what is averaged into the embedding
        framing = Framing(fitted(shape, MAP_PX), bundle.size_px)
        values = framing.to_image(np.maximum(places, 0), step_px=layer.step_px, first_px=layer.first_px)
        return SimilarityMap((values / values.max() if values.max() > 0 else values).astype(np.float32))

    def _direction(self, image_id: str, subject: str) -> NDArray[np.float32]:
        """Return the embedding of the other image, shape (features,), float32, as a weight of each feature."""
        if is_upload(image_id):
            vector = self._uploads.get(image_id, subject).vector
        else:
            vector = self._store.vectors([image_id], self._embedder.space.space_id)[0]
        if not np.isfinite(vector).all():
            raise SearchError(f"The image {shown(image_id)} has no embedding of the model of this service. Index it again.")
        whitening = getattr(self._embedder, "whitening", None)
        return np.asarray(whitening.matrix @ vector if whitening else vector, np.float32)

    def _offset(self, direction: NDArray[np.float32]) -> float:
        """Return what the mean, which whitening takes off, would add at every place."""
        whitening = getattr(self._embedder, "whitening", None)
        return float(whitening.mean @ direction) if whitening else 0.0

    def _file(self, image_id: str, subject: str) -> bytes:
        if is_upload(image_id):
            return self._uploads.get(image_id, subject).data
        image = self._store.images([image_id])[0]
        if image is None:
            raise SearchError(f"The index has no image {shown(image_id)}.")
        return self._loader.read(image)


def contributions(
    bundle: Bundle, image: NDArray[Any], direction: NDArray[np.float32], offset: float = 0.0
) -> NDArray[np.float32]:
    """Return what each place of an image adds to the product of its embedding with a direction, which is their mean.

    Parameters
    ----------
    bundle : Bundle
    image : ndarray, shape (1, size_px, size_px), float16 or float32 in [0, 1]
        As `learning.data.images.decode` returns it.
    direction : ndarray, shape (features,), float32
    offset : float
        Taken off at every place.

    Returns
    -------
    ndarray, shape (n, m), float32
        A value for each place of the network's last layer; below 0 where it speaks against the similarity.
    """
    import torch
    from torch import nn

    from dicom_workflow.learning.model.network import Ensemble, normalize

    network, mean, std = bundle.network, bundle.input_mean, bundle.input_std
    if isinstance(network, Ensemble):  # as for embeddings: features of networks that were trained apart have no common axes
        mean, std, network = float(network.means[0]), float(network.stds[0]), network.members[0]
    classifier = cast(nn.Sequential, network.class_layers)
    device = next(network.parameters()).device
    with torch.inference_mode():
        batch = normalize(torch.from_numpy(np.asarray(image[None], np.float32)).to(device), mean, std)
        seen = classifier[0](cast(nn.Module, network.features)(batch))  # (1, features, n, m), after the activation
        weights = torch.from_numpy(direction).to(device)
        features = seen[0].float()
        length = features.mean(dim=(1, 2)).norm()
        return cast(NDArray[np.float32], (torch.einsum("cnm,c->nm", features, weights) / length - offset).cpu().numpy())
