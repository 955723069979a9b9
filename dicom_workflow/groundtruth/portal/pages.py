"""The pages of the portal: its own, and the task page rendered from a job's template.

The template engine escapes everything that comes from a request, a manifest or a name. A task page may run only the scripts of
the job's template: each gets the nonce of the response.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from liquid import DictLoader, Environment, Markup

from dicom_workflow.labeling import page_assets, templates

# Unguessable placeholders, filled in after rendering: no text of a task can equal one of them.
_MARK = secrets.token_hex(16)
_NONCE, _META, _BAR = f"nonce{_MARK}", f"<!--meta{_MARK}-->", f"<!--bar{_MARK}-->"

_STATIC = ("portal.css", "crowd-shim.js")

# A task page may load from the portal and decode in web workers and WebAssembly, and connect to no other host.
_TASK_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src-elem 'self' 'nonce-{nonce}'; "
    "style-src-attr 'unsafe-inline'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "object-src 'none'"
)
PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@cache
def _environment() -> Environment:
    folder = resources.files("dicom_workflow.groundtruth.portal") / "static"
    pages = {item.name: item.read_text("utf-8") for item in folder.iterdir() if item.name.endswith(".liquid")}
    return Environment(autoescape=True, loader=DictLoader(pages))


@cache
def static(name: str) -> bytes:
    """Return a static file: the portal's style sheet, the crowd script, or a script or style sheet of a task page."""
    if name == "crowd-shim.js":
        return templates.crowd_shim().encode()
    if name not in _STATIC:
        return page_assets.content(name)
    return (resources.files("dicom_workflow.groundtruth.portal") / "static" / name).read_bytes()


@cache
def static_zipped(name: str) -> bytes:
    """Return a static file as gzip."""
    return gzip.compress(static(name), 9, mtime=0) if name in _STATIC else page_assets.zipped(name)


def is_static(name: str) -> bool:
    """Return whether a static file of that name exists."""
    return name in _STATIC or name in (page_assets.build().script, page_assets.build().style)


@cache
def static_url(name: str) -> str:
    """Return the address of a static file; it changes with the content, so browsers may cache it without limit."""
    return f"/static/{name}?v={hashlib.sha256(static(name)).hexdigest()[:12]}"


def page(template: str, heading: str, /, **values: Any) -> str:
    """Return one of the portal's own pages: the named template inside the layout.

    Parameters
    ----------
    template : str
        Name of a template in ``static/``, without its ending.
    heading : str
        Title of the page.
    **values
        Of the template; `worker` and `csrf` also of the layout.
    """
    environment = _environment()
    content = environment.get_template(f"{template}.liquid").render(**values)
    layout = environment.get_template("layout.liquid")
    safe = Markup(content)
    return layout.render(
        title=heading, content=safe, css=static_url("portal.css"), worker=values.get("worker"), csrf=values.get("csrf")
    )


def task_page(
    template_text: str,
    task_input: Mapping[str, Any],
    *,
    grant_read_access: Callable[[str], str],
    answer_url: str,
    csrf: str,
    draft_key: str,
    bar: Mapping[str, Any],
) -> tuple[str, str]:
    """Return the page of one task and its Content-Security-Policy.

    Parameters
    ----------
    template_text : str
        The job's template, in the form that Ground Truth takes.
    task_input : Mapping
        ``task.input``.
    grant_read_access : callable
        Liquid filter: URI → address that this page may load.
    answer_url, csrf : str
        Address for the answer and the token that it must carry, for the crowd script.
    draft_key : str
        Key of worker, job and object under which the page keeps drafts.
    bar : Mapping
        Values of the bar above the task: `task`, `title`, `csrf`, `number`, `total`.

    Raises
    ------
    TemplateError
        The template cannot be rendered with this input.
    """
    nonce = secrets.token_urlsafe(18)
    html = templates.render(_prepared(template_text), task_input, grant_read_access=grant_read_access)
    environment = _environment()
    meta = environment.get_template("meta.liquid").render(
        answer_url=answer_url, csrf=csrf, draft_key=draft_key, css=static_url("portal.css")
    )
    rendered_bar = environment.get_template("bar.liquid").render(**bar)
    html = html.replace(_META, meta, 1).replace(_BAR, rendered_bar, 1).replace(_NONCE, nonce)
    return html, _TASK_POLICY.format(nonce=nonce)


@lru_cache(maxsize=32)
def _prepared(template_text: str) -> str:
    """Return the template with local scripts and styles, and with placeholders for nonces, meta elements and the bar."""
    text = template_text.replace(templates.CROWD_SCRIPT_URL, static_url("crowd-shim.js"))
    text = _with_own_assets(text)
    text = re.sub(r"<(script|style|link)(?=[\s>])", rf"<\1 nonce={_NONCE}", text, flags=re.IGNORECASE)
    text, bodies = re.subn(r"<body(?=[\s>])[^>]*>", lambda tag: tag[0] + _BAR, text, count=1, flags=re.IGNORECASE)
    text, heads = re.subn(r"<head(?=[\s>])[^>]*>", lambda tag: tag[0] + _META, text, count=1, flags=re.IGNORECASE)
    if not heads:  # Ground Truth takes fragments too
        charset = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        bar = "" if bodies else _BAR
        text = f'<!DOCTYPE html><html lang="en"><head>{charset}{_META}<title>Task</title></head>{bar}{text}'
    return text


def _with_own_assets(template_text: str) -> str:
    """Return the template with this service's copy of the task page's files, where it refers to those of this build.

    Their names contain a hash of their content. A browser loads them once from here; files of another build are granted to each
    task.
    """
    for name in (page_assets.build().script, page_assets.build().style):
        granted = r'\{\{\s*"[^"{}]*/' + re.escape(name) + r'"\s*\|\s*grant_read_access\s*\}\}'
        address = r"https?://[^\s\"'<>{}]*/" + re.escape(name)
        template_text = re.sub(rf"{granted}|{address}", f"/static/{name}", template_text)
    return template_text
