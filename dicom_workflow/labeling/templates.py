"""Worker templates: Liquid as SageMaker Ground Truth renders it, and the pages of the tasks.

The host of a rendered page must provide the following, as the self-hosted labeling service does:

- the crowd script (`CROWD_SCRIPT_URL`) is replaced by `crowd_shim`, the same elements without a network;
- ``<meta name="task-answer-url">`` and ``<meta name="task-csrf">`` stand in the head, where the shim finds them;
- ``<meta name="task-draft-key">`` there stands for job, object and worker without naming any of them: drafts of two workers
  at one computer are kept apart by it;
- ``task.input.renderedImage`` and, for the second image, ``task.input.renderedSecond``, where the host can make one, is the
  address of a PNG or JPEG of the image as it is to be seen (window and photometric interpretation applied), for pixels the
  page cannot decode itself. It may be smaller than the image; regions are still in pixels of the DICOM header;
- under a content security policy script and style get the host's nonce, and the page needs ``script-src
  'wasm-unsafe-eval'``, ``worker-src blob:``, ``connect-src data: blob:`` and ``img-src blob: data:``, and ``img-src`` and
  ``connect-src`` for the addresses that ``grant_read_access`` gives. It needs no inline style and evaluates no text.

One difference is left: Ground Truth escapes a string literal inside ``{{ }}`` too, python-liquid does not.
"""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

from liquid import Environment
from liquid.exceptions import LiquidError
from markupsafe import Markup

from dicom_workflow.errors import TemplateError
from dicom_workflow.formats.labels import parse_label_list
from dicom_workflow.formats.object_reference import READABLE_SCHEMES
from dicom_workflow.labeling import page_assets
from dicom_workflow.labeling.tasks import registry
from dicom_workflow.labeling.tasks.protocol import Task
from dicom_workflow.storage import Storage, join

TEMPLATE_LIMIT_CHARACTERS = 128_000
CROWD_SCRIPT_URL = "https://assets.crowd.aws/crowd-html-elements.js"

SCRIPT_MARK, STYLE_MARK = "@@SCRIPT@@", "@@STYLE@@"
"""Stand in the template of a page for the addresses of its script and style."""

_NOT_IN_A_TEMPLATE = re.compile(r"""["'{}<>\s\\]""")

# Inside <script> text, `to_json | skip_autoescape` must not be able to end the script or open a comment.
_SCRIPT_SAFE = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"})


FILTER_LIMIT_CHARACTERS = 1_000_000
FILTER_LIMIT_ITEMS = 10_000
RENDER_SECONDS = 10.0
"""How long the filters of one page may take altogether; the radiograph page takes milliseconds."""


class _WorkerTemplates(Environment):
    """Liquid with bounds: a template is a job owner's text, but it must not be able to hang the labeling service."""

    context_depth_limit = 30
    loop_iteration_limit = 100_000
    output_stream_limit = 2_000_000
    local_namespace_limit = 4_000_000


def render(template_text: str, task_input: Mapping[str, Any], *, grant_read_access: Callable[[str], str]) -> str:
    """Return the HTML of one task.

    Parameters
    ----------
    template_text : str
        Liquid template; ``task.input`` is `task_input`. Every output is HTML-escaped unless it passes ``skip_autoescape``.
    task_input : Mapping
        JSON object, as the pre-annotation function returned it.
    grant_read_access : callable
        Turns the URI of an object into an address the worker's browser may read for a while. It may raise `TemplateError`.

    Raises
    ------
    TemplateError
        The template is longer than Ground Truth takes, is not Liquid, uses an unknown filter, or hands
        ``grant_read_access`` something that is no URI; the message names the line.
    """
    if len(template_text) > TEMPLATE_LIMIT_CHARACTERS:
        raise TemplateError(
            f"expected a template of at most {TEMPLATE_LIMIT_CHARACTERS} characters, got {len(template_text)}. "
            "Move scripts and styles into files of their own."
        )
    environment = _WorkerTemplates(autoescape=True)
    environment.filters.pop("safe", None)  # not one of Ground Truth's: a template that used it would break there
    environment.add_filter("to_json", _to_json)
    environment.add_filter("skip_autoescape", _skip_autoescape)
    environment.add_filter("grant_read_access", _granter(grant_read_access))
    deadline = time.monotonic() + RENDER_SECONDS
    environment.filters = {name: _bounded(name, apply, deadline) for name, apply in environment.filters.items()}
    try:
        return environment.from_string(template_text).render(task={"input": dict(task_input)})
    except LiquidError as error:
        raise TemplateError(f"{_place(error)}{error.message}") from error


def page_template(assets_url: str | None = None, *, assets_uri: str = "", task: Task | None = None) -> str:
    """Return the template of a task's page, with the addresses of the script and the style that ship with this package.

    The radiograph page is a Liquid shell around the two (`page_assets`). A template without `SCRIPT_MARK` and `STYLE_MARK` is
    returned as the task has it.

    Parameters
    ----------
    assets_url : str, optional
        Address below which a browser finds the script and the style; their names alone when not given.
    assets_uri : str, optional
        s3:// or file:// folder they are in, when the host of the page is to grant access to them through
        ``grant_read_access``, as to an image.
    task : Task, optional
        The default task when not given.

    Raises
    ------
    TemplateError
        The address cannot stand in a template.
    """
    folder = (assets_uri if assets_url is None else assets_url).rstrip("/")
    if _NOT_IN_A_TEMPLATE.search(folder):
        raise TemplateError(f"expected an address without quotes, braces, spaces and < or >, got {folder[:80]!r}.")
    page = (task or registry.find()).template()
    granted = assets_url is None and bool(assets_uri)
    for mark, name in ((SCRIPT_MARK, page_assets.build().script), (STYLE_MARK, page_assets.build().style)):
        address = f"{folder}/{name}" if folder else name
        page = page.replace(mark, f'{{{{ "{address}" | grant_read_access }}}}' if granted else address)
    return page


def crowd_shim() -> str:
    """Return the script that stands in for `CROWD_SCRIPT_URL` where there is no AWS."""
    return _resource("crowd-shim.js")


def publish_template(
    uri: str,
    storage: Storage,
    *,
    text: str | None = None,
    assets_url: str | None = None,
    task: Task | None = None,
) -> str:
    """Write a worker template where a labeling job can read it and return its URI.

    The script and style that a page names by its marks are written into the folder ``worker-ui`` beside it, and read back.
    The template names them in one of two ways. By default it asks Ground Truth for a presigned address each time
    (``grant_read_access``): nothing has to be public, but the address is another one for every task, so a browser that keeps
    files by address loads the 1.2 MB again with every image. With `assets_url`, a public or CloudFront address of that folder,
    it loads them once.

    Parameters
    ----------
    uri : str
        Object to write; Ground Truth wants the name to end in ``.html`` or ``.liquid``.
    text : str, optional
        A template of your own, written as it is and alone; the page of the task when not given.
    assets_url : str, optional
        https:// address at which a browser finds what is in the folder ``worker-ui``.
    task : Task, optional
        The default task when not given.

    Raises
    ------
    TemplateError
        The name or the length is not what Ground Truth takes.
    StorageError
        A file was not read back as it was written.
    """
    if not uri.endswith((".html", ".liquid")):
        raise TemplateError(f"expected a template URI ending in .html or .liquid, got {uri!r}.")
    folder_uri = join(uri.rpartition("/")[0], page_assets.FOLDER)
    task = task or registry.find()
    template = page_template(assets_url, assets_uri=folder_uri, task=task) if text is None else text
    if len(template) > TEMPLATE_LIMIT_CHARACTERS:
        raise TemplateError(f"expected at most {TEMPLATE_LIMIT_CHARACTERS} characters, got {len(template)}.")
    if text is None and SCRIPT_MARK in task.template():
        page_assets.publish(folder_uri, storage)
    return storage.write_text(uri, template)


def publish_label_categories(uri: str, labels: Sequence[str], storage: Storage) -> str:
    """Write the label category file of a job and return its URI.

    A custom job works without one, but only through it does the post-annotation function learn the label list, and with the
    list that a label without a state is unknown and that a label outside of it is refused. Ground Truth hands on the names
    alone; for the rules of the labels see `lambda_handlers`.

    Parameters
    ----------
    uri : str
        Object to write.
    labels : sequence of str
        The label list, in order.
    storage : Storage
        Where to write.
    """
    categories = {"document-version": "2018-11-28", "labels": [{"label": label} for label in parse_label_list(list(labels))]}
    return storage.write_text(uri, json.dumps(categories, ensure_ascii=False))


def _resource(name: str) -> str:
    return (resources.files("dicom_workflow.labeling") / "worker_templates" / name).read_text(encoding="utf-8")


def _to_json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False).translate(_SCRIPT_SAFE)
    except TypeError:  # an undefined variable is no JSON value; Ground Truth gives null
        return "null"


def _skip_autoescape(value: object) -> Markup:
    return Markup(str(value))  # noqa: S704 - the filter exists to do exactly this


def _granter(grant_read_access: Callable[[str], str]) -> Callable[[object], str]:
    def granted(value: object) -> str:
        text = str(value or "")
        if not text.startswith(READABLE_SCHEMES):
            message = f"grant_read_access: expected a URI with {', '.join(READABLE_SCHEMES)}, got {text[:60]!r}."
            raise LiquidError(message, token=None)  # rendering adds the place
        return str(grant_read_access(text))

    return granted


def _bounded(name: str, apply: Callable[..., Any], deadline: float) -> Callable[..., Any]:
    """A filter that is not applied to what would take the service's memory or time: bounds of Liquid's own end at tags."""

    @functools.wraps(apply)
    def bounded(value: object = None, *arguments: object, **options: object) -> object:
        if isinstance(value, range):
            value = [*value[: FILTER_LIMIT_ITEMS + 1]]  # one more than may be
        size = sum(map(_characters, (value, *arguments)))
        if name == "replace" and len(arguments) == 2:
            size += str(value).count(str(arguments[0])) * len(str(arguments[1]))
        elif name == "join" and isinstance(value, list | tuple):
            size += len(value) * sum(map(_characters, arguments))
        if size > FILTER_LIMIT_CHARACTERS:
            raise LiquidError(f"{name}: more than {FILTER_LIMIT_CHARACTERS} characters", token=None)
        if time.monotonic() > deadline:
            raise LiquidError(f"rendering took more than {RENDER_SECONDS:.0f} seconds", token=None)
        return apply(value, *arguments, **options)

    return bounded


def _characters(value: object) -> int:
    """How much a value is as text, without making the text: too much for what has too many items."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, int):
        return value.bit_length() * 1000 if value.bit_length() > 256 else 20  # powers of powers
    if isinstance(value, list | tuple):
        most = FILTER_LIMIT_CHARACTERS + 1
        return most if len(value) > FILTER_LIMIT_ITEMS else sum(len(item) if isinstance(item, str) else 20 for item in value)
    return 20


def _place(error: LiquidError) -> str:
    context = error.context()
    return f"line {context[0]}: " if context else ""
