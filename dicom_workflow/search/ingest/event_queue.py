"""S3 events from an SQS queue: each object that was created becomes an image or a report of the index.

A message is deleted when what it names is in the store, or can never be: a machine that ends in between leaves it in the queue,
and another one takes it when its visibility timeout has passed.

References
----------
Amazon S3 user guide, "Event message structure"; messages that come through SNS or EventBridge are read too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from dicom_workflow.errors import SearchError
from dicom_workflow.search.ingest.report_files import SUFFIXES
from dicom_workflow.search.ingest.sources import QUEUE, SourceImage, s3_image
from dicom_workflow.settings import Settings
from dicom_workflow.storage import Storage

_LONG_POLL_SECONDS = 10
_MESSAGES = 10
"""Most that SQS gives at a time."""


@dataclass(frozen=True)
class Events:
    """What some messages of the queue name."""

    images: tuple[SourceImage, ...]
    reports: tuple[str, ...]
    """URIs of report files."""
    refused: tuple[str, ...]
    """Why a message names nothing."""
    receipts: tuple[str, ...] = field(repr=False, default=())
    """For `EventQueue.done`."""


class EventQueue:
    """An SQS queue that S3 tells of new objects.

    Parameters
    ----------
    address : str
        ``sqs:`` and the URL of the queue.
    settings : Settings
        Its region and timeout.

    Raises
    ------
    SearchError
        The address is not one of a queue.
    """

    def __init__(self, address: str, settings: Settings) -> None:
        self.url = address.removeprefix(QUEUE)
        parts = urlsplit(self.url)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.path.count("/") < 2:
            raise SearchError(
                f"expected a queue as {QUEUE}https://sqs.REGION.amazonaws.com/ACCOUNT/NAME, got {address[:100]!r}."
            )
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise SearchError(
                f"expected {QUEUE}https://…, got {address[:100]!r}. Only a queue on this machine is read without TLS."
            )
        import boto3
        from botocore.config import Config

        config = Config(
            connect_timeout=10,
            read_timeout=settings.timeout_seconds + _LONG_POLL_SECONDS,
            retries={"mode": "standard", "max_attempts": 5},
        )
        self._sqs = boto3.client(
            "sqs", endpoint_url=f"{parts.scheme}://{parts.netloc}", region_name=settings.region or None, config=config
        )
        self._storage = Storage(settings)

    def events(self, *, wait: bool = True) -> Iterator[Events]:
        """Yield what the messages name, without end; without `wait`, until the queue is empty.

        Parameters
        ----------
        wait : bool
            For messages that have not come yet; a round without any yields empty events.

        Raises
        ------
        SearchError
            The queue does not answer.
        """
        while True:
            messages = self._call(
                "receive_message",
                MaxNumberOfMessages=_MESSAGES,
                WaitTimeSeconds=_LONG_POLL_SECONDS if wait else 1,
                AttributeNames=["ApproximateReceiveCount"],
            ).get("Messages", ())
            if not messages and not wait:
                return
            yield self._read(messages)

    def done(self, events: Events) -> None:
        """Delete messages: what they name is in the store.

        Raises
        ------
        SearchError
            The queue does not answer.
        """
        if events.receipts:
            entries = [{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(events.receipts)]
            self._call("delete_message_batch", Entries=entries)

    def _call(self, name: str, **arguments: Any) -> Mapping[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: Mapping[str, Any] = getattr(self._sqs, name)(QueueUrl=self.url, **arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            raise SearchError(
                f"{QUEUE}{self.url}: SQS answered {code}. Check the queue's name and this role's rights."
            ) from error
        except BotoCoreError as error:
            raise SearchError(f"{QUEUE}{self.url}: SQS could not be reached: {error}") from error
        return answer

    def _read(self, messages: Any) -> Events:
        images, reports, refused = [], [], []
        for message in messages:
            try:
                for uri, version in created(message["Body"]):
                    if uri.lower().endswith(SUFFIXES):
                        reports.append(uri)
                    else:
                        images.append(s3_image(uri, self._storage, version=version))
            except ValueError as error:
                refused.append(f"message {message['MessageId']}: {error}")
        receipts = tuple(message["ReceiptHandle"] for message in messages)
        return Events(tuple(images), tuple(reports), tuple(refused), receipts)


def created(body: str) -> list[tuple[str, str]]:
    """Return URI and version of each object that a message says was created; nothing for S3's test message.

    Raises
    ------
    ValueError
        It is no event of S3; the message says what was expected.
    """
    value = _json(body)
    if isinstance(value, Mapping) and isinstance(value.get("Message"), str):  # through SNS
        value = _json(value["Message"])
    if not isinstance(value, Mapping):
        raise ValueError("expected an event of S3 as a JSON object")
    if value.get("Event") == "s3:TestEvent":
        return []
    if isinstance(value.get("detail"), Mapping):  # through EventBridge, which does not escape the key
        detail = value["detail"]
        if value.get("detail-type") != "Object Created":
            return []
        return [_object(detail.get("bucket"), detail.get("object"), escaped=False)]
    records = value.get("Records")
    if not isinstance(records, list) or not all(isinstance(each, Mapping) for each in records):
        raise ValueError("expected 'Records', as S3 writes them")
    found = [each.get("s3") for each in records if str(each.get("eventName", "")).startswith("ObjectCreated")]
    if not all(isinstance(each, Mapping) for each in found):
        raise ValueError("expected 's3' in each record, as S3 writes it")
    return [_object(each.get("bucket"), each.get("object"), escaped=True) for each in found]


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _object(bucket: Any, item: Any, *, escaped: bool) -> tuple[str, str]:
    try:
        name, key = bucket["name"], item["key"]
        version = str(item.get("sequencer") or item.get("eTag") or item.get("etag") or "")
        if not (isinstance(name, str) and isinstance(key, str) and name and key):
            raise TypeError
    except (TypeError, LookupError, AttributeError):
        raise ValueError("expected the name of a bucket and the key of an object") from None
    return f"s3://{name}/{unquote_plus(key) if escaped else key}", version
