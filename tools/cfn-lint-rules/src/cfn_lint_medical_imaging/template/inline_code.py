"""Analyze the inline code of Lambda functions: Python with its own parser, JavaScript with regular expressions."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from cfn_lint_medical_imaging.template.intrinsics import PLACEHOLDER
from cfn_lint_medical_imaging.template.values import Path, ResolvedTemplate, Resource, Value

# Lambda provides these modules: `cfnresponse` to inline code only, the others in every Python runtime.
PROVIDED_MODULES = {"boto3", "botocore", "cfnresponse", "s3transfer", "jmespath", "dateutil", "urllib3", "six"}
# The JavaScript counterparts of `swallows_exception`, `logged_records` and `wildcard_origins`.
JAVASCRIPT_EMPTY_CATCH = re.compile(r"\bcatch\s*(\([^)]*\))?\s*\{\s*(//[^\n]*\n\s*)?\}")
JAVASCRIPT_LOGS_RECORDS = re.compile(
    r"\bconsole\.\w+\((?:[^()\n]*[,+]\s*)?(?:JSON\.stringify\()?\s*(?:event|annotations|response)\s*[,)]"
)
JAVASCRIPT_WILDCARD_ORIGIN = re.compile(r"allow-?_?(?:ed)?_?-?origins?['\"]?\]?\s*[:=,][^*;]{0,120}?['\"]\*['\"]", re.I)

# Names under which labeling functions hold their events, annotations and worker responses.
RECORD_NAMES = {
    "event",
    "annotation",
    "annotations",
    "response",
    "responses",
    "payload",
    "body",
    "record",
    "records",
    "dataobject",
}
LOG_METHODS = {"debug", "info", "warning", "warn", "error", "exception", "critical", "log"}


@dataclass(frozen=True)
class InlinePython:
    """The inline Python of one function: its syntax tree, or the error that the parser raised."""

    function: Resource
    path: Path
    tree: ast.Module | None
    error: SyntaxError | None = None


def inline_python(template: ResolvedTemplate) -> Iterator[InlinePython]:
    """Yield the inline Python of every function. Placeholders of `Fn::Sub` are parsed as names."""
    for function, value, language in _inline_sources(template):
        if language == "python":
            source = PLACEHOLDER.sub(lambda found: re.sub(r"\W+", "_", found[0]).strip("_"), value.text)
            try:
                yield InlinePython(function, value.path, ast.parse(source))
            except SyntaxError as error:
                yield InlinePython(function, value.path, None, error)


def inline_javascript(template: ResolvedTemplate) -> Iterator[tuple[Resource, Value]]:
    """Yield the inline JavaScript of every function as text, because Python has no parser for it."""
    for function, value, language in _inline_sources(template):
        if language == "nodejs":
            yield function, value


def _inline_sources(template: ResolvedTemplate) -> Iterator[tuple[Resource, Value, str]]:
    for function in template.resources("AWS::Lambda::Function", "AWS::Serverless::Function"):
        runtimes = [value.text for value in function.get("Runtime")]
        language = "nodejs" if any(runtime.startswith("nodejs") for runtime in runtimes) else "python"
        for keys in (("Code", "ZipFile"), ("InlineCode",)):
            for value in function.get(*keys):
                if value.text:
                    yield function, value, language


def matching_lines(pattern: re.Pattern[str], text: str) -> Iterator[int]:
    """Yield the line number, from 1, of every match of a pattern."""
    for found in pattern.finditer(text):
        yield text.count("\n", 0, found.start()) + 1


def imported_modules(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Yield every import statement with the top-level name of the module; `.` for a relative import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node, "." if node.level else str(node.module).split(".")[0]


def is_available_in_lambda(module: str) -> bool:
    """Whether inline code can import the module."""
    return module in sys.stdlib_module_names or module in PROVIDED_MODULES


def swallows_exception(handler: ast.ExceptHandler) -> bool:
    """Whether a handler catches every exception without raising, reporting or using it."""
    caught = handler.type
    catches_all = caught is None or any(
        isinstance(node, ast.Name) and node.id in ("Exception", "BaseException") for node in ast.walk(caught)
    )
    if not catches_all:
        return False
    inside = [node for statement in handler.body for node in ast.walk(statement)]
    raises = any(isinstance(node, ast.Raise) for node in inside)
    used = any(isinstance(node, ast.Name) and node.id == handler.name for node in inside) if handler.name else False
    reported = any(isinstance(node, ast.Attribute) and node.attr in ("FAILED", "exception") for node in inside)
    return (caught is None and not raises and not reported) or not (raises or used or reported)


def logged_records(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    """Yield the calls that print or log the event of a handler or a variable named like a record, with its name."""
    events = _event_arguments(tree)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        function = call.func
        printing = isinstance(function, ast.Name) and function.id in ("print", "pprint")
        logging = isinstance(function, ast.Attribute) and function.attr in LOG_METHODS and _is_logger(function.value)
        if printing or logging:
            for name in (
                node for argument in [*call.args, *(k.value for k in call.keywords)] for node in _names_in_full(argument)
            ):
                if name in events or name.lower() in RECORD_NAMES:
                    yield call, name


def _is_logger(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name.lower().lstrip("_") in ("logging", "logger", "log") or isinstance(node, ast.Call)


def _names_in_full(node: ast.expr) -> Iterator[str]:
    """Yield names whose whole value is printed: `event`, f'{event}', json.dumps(event); not len(event) or event['id']."""
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from _names_in_full(part.value)
    elif isinstance(node, ast.BinOp):
        yield from _names_in_full(node.left)
        yield from _names_in_full(node.right)
    elif isinstance(node, (ast.Tuple, ast.List)):
        for part in node.elts:
            yield from _names_in_full(part)
    elif isinstance(node, ast.Call):
        called = (
            node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
        )
        if called in ("dumps", "str", "repr", "format", "pformat", "list", "dict"):
            for argument in [*node.args, *(keyword.value for keyword in node.keywords)]:
                yield from _names_in_full(argument)
    elif isinstance(node, ast.Subscript):
        text = ast.unparse(node.slice).strip("'\"").lower()
        if text in RECORD_NAMES:
            yield text


def _event_arguments(tree: ast.Module) -> set[str]:
    """Return the name of the first argument of every handler."""
    handlers = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and "handler" in node.name.lower())
    return {node.args.args[0].arg for node in handlers if node.args.args}


def wildcard_origins(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes that allow every CORS origin: `AllowedOrigins: ['*']`, or the response header with `*`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and _is_origin_setting(str(key.value)) and _has_wildcard(value):
                    yield value
        elif isinstance(node, ast.keyword) and node.arg and _is_origin_setting(node.arg) and _has_wildcard(node.value):
            yield node.value
        elif isinstance(node, ast.Assign) and _has_wildcard(node.value):
            for target in node.targets:
                if (
                    isinstance(target, ast.Subscript)
                    and isinstance(target.slice, ast.Constant)
                    and _is_origin_setting(str(target.slice.value))
                ):
                    yield node.value


def _is_origin_setting(name: str) -> bool:
    return re.sub(r"[-_]", "", name).lower() in ("allowedorigins", "alloworigins", "accesscontrolalloworigin", "allowedorigin")


def _has_wildcard(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Constant) and part.value == "*" for part in ast.walk(node))
