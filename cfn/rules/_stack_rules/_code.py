"""Code that a template carries inside, as Python's own parser reads it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from _stack_rules._reading import LATER, Path, Resource, Spot, View

# Lambda puts these beside inline code: `cfnresponse` only there, the others in every Python runtime.
SHIPPED = {"boto3", "botocore", "cfnresponse", "s3transfer", "jmespath", "dateutil", "urllib3", "six"}
# The same three faults in JavaScript.
SCRIPT_SWALLOWS = re.compile(r"\bcatch\s*(\([^)]*\))?\s*\{\s*(//[^\n]*\n\s*)?\}")
SCRIPT_SHOWS_RECORDS = re.compile(
    r"\bconsole\.\w+\((?:[^()\n]*[,+]\s*)?(?:JSON\.stringify\()?\s*(?:event|annotations|response)\s*[,)]"
)
SCRIPT_EVERY_ORIGIN = re.compile(r"allow-?_?(?:ed)?_?-?origins?['\"]?\]?\s*[:=,][^*;]{0,120}?['\"]\*['\"]", re.I)

RECORDS = {"event", "annotation", "annotations", "response", "responses", "payload", "body", "record", "records", "dataobject"}
LOGGERS = {"debug", "info", "warning", "warn", "error", "exception", "critical", "log"}


@dataclass(frozen=True)
class InlineCode:
    """The inline code of one function."""

    owner: Resource
    spot: Spot
    tree: ast.Module | None
    error: SyntaxError | None = None

    @property
    def path(self) -> Path:
        return self.spot.path


def inline_code(view: View) -> Iterator[InlineCode]:
    """Yield every piece of inline Python; what deployment fills in is read as a plain name."""
    for function, spot, language in _zip_files(view):
        if language != "nodejs":
            yield _parsed(function, spot)


def scripts(view: View) -> Iterator[tuple[Resource, Spot]]:
    """Yield every piece of inline JavaScript. It is searched, not parsed: Python has no parser for it."""
    for function, spot, language in _zip_files(view):
        if language == "nodejs":
            yield function, spot


def _zip_files(view: View) -> Iterator[tuple[Resource, Spot, str]]:
    for function in view.resources("AWS::Lambda::Function", "AWS::Serverless::Function"):
        runtimes = [spot.text for spot in function.at("Runtime")]
        language = "nodejs" if any(runtime.startswith("nodejs") for runtime in runtimes) else "python"
        for keys in (("Code", "ZipFile"), ("InlineCode",)):
            for spot in function.at(*keys):
                if spot.text:
                    yield function, spot, language


def lines_of(pattern: re.Pattern[str], text: str) -> Iterator[int]:
    """The lines at which a pattern is found, from 1."""
    for found in pattern.finditer(text):
        yield text.count("\n", 0, found.start()) + 1


def _parsed(function: Resource, spot: Spot) -> InlineCode:
    text = LATER.sub(lambda found: re.sub(r"\W+", "_", found[0]).strip("_"), spot.text)
    try:
        return InlineCode(function, spot, ast.parse(text))
    except SyntaxError as error:
        return InlineCode(function, spot, None, error)


def imports(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Yield every module that is imported, by its first name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node, "." if node.level else str(node.module).split(".")[0]


def shipped(module: str) -> bool:
    """Whether inline code finds the module at Lambda."""
    return module in sys.stdlib_module_names or module in SHIPPED


def swallows(handler: ast.ExceptHandler) -> bool:
    """Whether a handler catches everything and lets nobody know: nothing is raised, and the exception is not used."""
    caught = handler.type
    wide = caught is None or any(
        isinstance(node, ast.Name) and node.id in ("Exception", "BaseException") for node in ast.walk(caught)
    )
    if not wide:
        return False
    inside = [node for statement in handler.body for node in ast.walk(statement)]
    raises = any(isinstance(node, ast.Raise) for node in inside)
    told = any(isinstance(node, ast.Name) and node.id == handler.name for node in inside) if handler.name else False
    failed = any(isinstance(node, ast.Attribute) and node.attr in ("FAILED", "exception") for node in inside)
    return (caught is None and not raises and not failed) or not (raises or told or failed)


def shows_records(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    """Yield calls that print or log what came in: the handler's event, or what is named like a record."""
    seen = _events(tree)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        function = call.func
        printing = isinstance(function, ast.Name) and function.id in ("print", "pprint")
        logging = isinstance(function, ast.Attribute) and function.attr in LOGGERS and _is_logger(function.value)
        if printing or logging:
            for name in (node for argument in [*call.args, *(k.value for k in call.keywords)] for node in _whole(argument)):
                if name in seen or name.lower() in RECORDS:
                    yield call, name


def _is_logger(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name.lower().lstrip("_") in ("logging", "logger", "log") or isinstance(node, ast.Call)


def _whole(node: ast.expr) -> Iterator[str]:
    """Names whose whole value reaches the output: `event`, f'{event}', json.dumps(event); not len(event) or event['id']."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from _whole(part.value)
    elif isinstance(node, ast.BinOp):
        yield from _whole(node.left)
        yield from _whole(node.right)
    elif isinstance(node, (ast.Tuple, ast.List)):
        for part in node.elts:
            yield from _whole(part)
    elif isinstance(node, ast.Call):
        called = (
            node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
        )
        if called in ("dumps", "str", "repr", "format", "pformat", "list", "dict"):
            for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
                yield from _whole(argument)
    elif isinstance(node, ast.Subscript):
        text = ast.unparse(node.slice).strip("'\"").lower()
        if text in RECORDS:
            yield text


def _events(tree: ast.Module) -> set[str]:
    """The first argument of every function that takes two of them, as handlers do."""
    handlers = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and "handler" in node.name.lower())
    return {node.args.args[0].arg for node in handlers if node.args.args}


def every_origin(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield where code lets pages of every origin in: `AllowedOrigins: ['*']` or the header with `*`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and _cors(str(key.value)) and _star(value):
                    yield value
        elif isinstance(node, ast.keyword) and node.arg and _cors(node.arg) and _star(node.value):
            yield node.value
        elif isinstance(node, ast.Assign) and _star(node.value):
            for target in node.targets:
                if (
                    isinstance(target, ast.Subscript)
                    and isinstance(target.slice, ast.Constant)
                    and _cors(str(target.slice.value))
                ):
                    yield node.value


def _cors(name: str) -> bool:
    return re.sub(r"[-_]", "", name).lower() in ("allowedorigins", "alloworigins", "accesscontrolalloworigin", "allowedorigin")


def _star(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Constant) and part.value == "*" for part in ast.walk(node))
