"""The search page in a notebook: look for reports and images, select some, and go on with them as a table.

    widget = SearchWidget(open_store("search"))
    widget                     # shows the page
    widget.selected            # what was selected in it, as a DataFrame

The page is the module that the web page has; here its GraphQL operations are widget messages, which the kernel answers with the
schema of the search service over the same store. No server runs and nothing leaves the kernel.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from dicom_workflow.errors import SearchError, SettingsError, WorkflowError
from dicom_workflow.labeling import page_assets
from dicom_workflow.search.documents import ImageDocument
from dicom_workflow.search.service.access import Identity
from dicom_workflow.search.service.context import ConcurrencyLimit
from dicom_workflow.search.service.executor import Operation
from dicom_workflow.search.service.images import MAX_PX, PICTURES_AT_A_TIME, THUMBNAIL_PX, ImageLoader, Pictures, StoredImages
from dicom_workflow.search.service.server import executor_of
from dicom_workflow.search.service.uploads import QueryEmbedder, is_upload
from dicom_workflow.search.store.protocol import SearchStore
from dicom_workflow.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

try:
    import anywidget
    import traitlets
except ImportError:
    raise SettingsError("The search page in a notebook needs anywidget: pip install 'dicom-workflow[search]'.") from None

log = logging.getLogger(__name__)

_PAGE = page_assets.build("search")
_PERSON = Identity("notebook")
COLUMNS = ("image_id", "report_id", "patient_key", "study_date", "modality", "view_position", "sex", "split", "source")
"""Of the tables of images, before the labels that the reports state."""


class SearchWidget(anywidget.AnyWidget):
    """The search page as a widget: `selected` and `hits` are tables.

    Parameters
    ----------
    store : SearchStore
        What to search, from `open_store`.
    embedder : QueryEmbedder, optional
        For images that are dragged in, and of an `Embedder` for the maps of why two images are similar; without it there is
        neither.
    settings : Settings, optional
        Archive and S3, for pictures; the salt of patient keys. By default those of the environment.
    loader : ImageLoader, optional
        Reads the files behind the index; `images.StoredImages` when not given.
    height : int
        Of the widget at most, in CSS pixels.

    Raises
    ------
    SearchError
        The store does not have the embedding space of the embedder.
    """

    _esm = page_assets.content(_PAGE.script, "search").decode()
    _css = page_assets.content(_PAGE.style, "search").decode()
    _selected = traitlets.List(traitlets.Unicode()).tag(sync=True)
    _hits = traitlets.Dict().tag(sync=True)
    height = traitlets.Int(720).tag(sync=True)

    def __init__(
        self,
        store: SearchStore,
        *,
        embedder: QueryEmbedder | None = None,
        settings: Settings | None = None,
        loader: ImageLoader | None = None,
        height: int = 720,
    ) -> None:
        super().__init__(height=height)
        self._store = store
        settings = settings or Settings.from_env()
        self._loader = loader or StoredImages(settings)
        self._executor = executor_of(store, settings, embedder, self._loader)
        self._pictures, self._picturing = Pictures(), ConcurrencyLimit(PICTURES_AT_A_TIME)
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_msg(self._receive)

    @property
    def selected(self) -> pd.DataFrame:
        """What a person has selected, in the order of selection: a row an image, `COLUMNS` and the labels of its report."""
        return self._table(list(self._selected))

    @property
    def hits(self) -> pd.DataFrame:
        """What the page found last, best first, with its score: images, or reports after a search by words."""
        import pandas as pd

        found = self._hits.get("hits", [])
        scores = {str(hit["id"]): float(hit["score"]) for hit in found}
        if self._hits.get("kind") == "images":
            table = self._table(list(scores))
            table.insert(1, "score", [scores[one] for one in table["image_id"]])
            return table
        reports = [report for report in self._store.reports(list(scores)) if report]
        rows = [
            {
                "report_id": report.report_id,
                "score": scores[report.report_id],
                "patient_key": report.patient_key,
                "study_date": report.study_date,
                "text": report.text,
                **_states(report.label_states()),
            }
            for report in reports
        ]
        return pd.DataFrame(rows, columns=None if rows else ["report_id", "score", "patient_key", "study_date", "text"])

    def select(self, image_ids: Sequence[str]) -> None:
        """Select these images in the page, instead of what is selected there."""
        self._selected = [str(one) for one in image_ids]

    def _table(self, image_ids: list[str]) -> pd.DataFrame:
        import pandas as pd

        images = [image for image in self._store.images(image_ids) if image]
        rows = [{**{name: getattr(image, name) for name in COLUMNS}, **_stated(image)} for image in images]
        return pd.DataFrame(rows, columns=None if rows else list(COLUMNS))

    def _receive(self, _: object, content: dict[str, Any], buffers: list[Any]) -> None:
        """Answer a message of the page, in the background where the kernel's event loop runs."""
        answer = self._answer(content, [bytes(each) for each in buffers])
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(answer)
            return
        task = loop.create_task(answer)
        self._tasks.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._tasks.discard)

    def _answer(self, content: dict[str, Any], buffers: list[bytes]) -> Coroutine[Any, Any, None]:
        kinds = {"graphql": self._graphql, "picture": self._picture, "upload": self._upload}

        async def answer() -> None:
            said: dict[str, Any] = {}
            sent: list[bytes] = []
            try:
                said, sent = await kinds[str(content.get("kind"))](content, buffers)
            except WorkflowError as error:
                said = {"error": str(error), "answer": {"errors": [{"message": str(error)}]}}
            except Exception as error:  # noqa: BLE001  the page has to be answered; what it was is for the log
                log.error("search widget: %s", type(error).__name__)
                text = f"This failed in the kernel ({type(error).__name__})."
                said = {"error": text, "answer": {"errors": [{"message": text}]}}
            self.send({**said, "id": content.get("id")}, sent)

        return answer()

    async def _graphql(self, content: dict[str, Any], _: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        return {"answer": await self._executor.execute(Operation.parse(content), _PERSON)}, []

    async def _picture(self, content: dict[str, Any], _: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        image_id, px = str(content.get("image_id")), content.get("px")
        max_px = min(px, MAX_PX) if isinstance(px, int) and px > 0 else THUMBNAIL_PX
        return {}, [await self._picturing.call(self._png, image_id, max_px)]

    def _png(self, image_id: str, max_px: int) -> bytes:
        key = (image_id, max_px)
        upload = self._executor.uploads.get(image_id, _PERSON.subject) if is_upload(image_id) else None
        if kept := self._pictures.kept(key):
            return kept
        if upload:
            data = upload.data
        else:
            image = self._store.images([image_id])[0]
            if image is None:
                raise SearchError("There is no such image in this index.")
            data = self._loader.read(image)
        most = self._executor.limits.upload_pixels
        return self._pictures.make(key, data, max_px=max_px, window=None, max_pixels=most)

    async def _upload(self, _: dict[str, Any], buffers: list[bytes]) -> tuple[dict[str, Any], list[bytes]]:
        accept = self._executor.accept_upload
        if accept is None:
            raise SearchError("No model computes embeddings here: make the widget with `embedder` to search by a file.")
        if len(buffers) != 1 or not 0 < len(buffers[0]) <= self._executor.limits.upload_bytes:
            raise SearchError(f"expected one DICOM file of at most {self._executor.limits.upload_bytes // 2**20} MB.")
        upload = await asyncio.to_thread(accept, buffers[0], _PERSON.subject)
        return {"answer": {"id": upload.image.image_id}}, []


def _stated(image: ImageDocument) -> dict[str, str]:
    by_state = {"negative": image.labels_negative, "uncertain": image.labels_uncertain, "positive": image.labels_positive}
    return _states({label: state for state, labels in by_state.items() for label in labels})


def _states(states: dict[str, Any]) -> dict[str, str]:
    """Return a column for each label, in the order of their names."""
    return {label: str(states[label]) for label in sorted(states)}
