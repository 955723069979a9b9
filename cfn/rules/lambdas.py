"""Rules about Lambda functions: what inline code does, and whether its runtime is still mended."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

from _stack_rules._base import Fault, StackRule
from _stack_rules._code import (
    SCRIPT_EVERY_ORIGIN,
    SCRIPT_SHOWS_RECORDS,
    SCRIPT_SWALLOWS,
    InlineCode,
    every_origin,
    imports,
    inline_code,
    lines_of,
    scripts,
    shipped,
    shows_records,
    swallows,
)
from _stack_rules._lifetimes import ended, runtime_ends, today
from _stack_rules._reading import ABSENT, Spot, View


def parsed(view: View) -> Iterator[tuple[InlineCode, ast.Module]]:
    """Yield the inline code that Python can read."""
    for code in inline_code(view):
        if code.tree is not None:
            yield code, code.tree


class MissingImport(StackRule):
    id = "E9501"
    shortdesc = "inline Lambda imports a module it does not ship"
    description = (
        "Inline code is one file: besides the standard library it finds boto3, botocore and cfnresponse. Every other "
        "import ends each call with ImportModuleError. Ship a zip with the module, or do without."
    )
    subjects = ("lambda",)

    def faults(self, view: View) -> Iterator[Fault]:
        for code, tree in parsed(view):
            for statement, module in imports(tree):
                if not shipped(module):
                    yield (
                        code.path,
                        f"{code.owner.name}, line {statement.lineno}: imports '{module}', which is not there; ship a zip.",
                    )


def searched(view: View, pattern: re.Pattern[str]) -> Iterator[tuple[Spot, str, int]]:
    """Yield (where, function, line) of what is found in inline JavaScript."""
    for function, spot in scripts(view):
        for line in lines_of(pattern, spot.text):
            yield spot, function.name, line


class SwallowedError(StackRule):
    id = "E9502"
    shortdesc = "inline Lambda swallows errors"
    description = (
        "A bare `except`, or one for Exception that neither raises nor says what it caught, makes records vanish and the "
        "call look well. Catch what you can handle, by name, and let the rest rise to the retry and the dead-letter "
        "queue."
    )
    subjects = ("lambda",)

    def faults(self, view: View) -> Iterator[Fault]:
        for code, tree in parsed(view):
            for node in ast.walk(tree):
                if isinstance(node, ast.ExceptHandler) and swallows(node):
                    yield (
                        code.path,
                        f"{code.owner.name}, line {node.lineno}: every error is swallowed; catch by name and let it rise.",
                    )
        for spot, name, line in searched(view, SCRIPT_SWALLOWS):
            yield spot.path, f"{name}, line {line}: every error is swallowed; let it rise."


class LoggedRecords(StackRule):
    id = "E9503"
    shortdesc = "inline Lambda prints the event or annotations"
    description = (
        "The event of a labeling Lambda holds addresses of images, workers' names and their answers; printed, it stays in "
        "CloudWatch Logs beyond every deletion. Log counts and ids that mean nothing outside."
    )
    subjects = ("lambda", "logs")

    def faults(self, view: View) -> Iterator[Fault]:
        for code, tree in parsed(view):
            for call, name in shows_records(tree):
                yield code.path, f"{code.owner.name}, line {call.lineno}: writes '{name}' to the log; log a count or an id."
        for spot, name, line in searched(view, SCRIPT_SHOWS_RECORDS):
            yield spot.path, f"{name}, line {line}: writes what came in to the log; log a count or an id."


class OldRuntime(StackRule):
    id = "E9504"
    shortdesc = "Lambda runtime out of support"
    description = (
        "After this date AWS mends nothing in the runtime, then refuses to create and at last to update functions with "
        "it. Move to a current one. The dates are in lifetimes.json, with their source; `-X E9504:today=2027-01-31` asks "
        "for another day."
    )
    subjects = ("lambda", "lifetimes")

    def __init__(self) -> None:
        super().__init__()
        self.config_definition = {"today": {"default": "", "type": "string"}}
        self.configure()

    def faults(self, view: View) -> Iterator[Fault]:
        for function in view.resources("AWS::Lambda::Function", "AWS::Lambda::LayerVersion", "AWS::Serverless::Function"):
            for keys in (("Runtime",), ("CompatibleRuntimes", "*")):
                for spot in function.at(*keys):
                    end = runtime_ends(spot.text)
                    if end and ended(end, today(self.config)):
                        yield (
                            spot.path,
                            f"{function.name} runs {spot.text}, out of support since {end}; move to a current runtime.",
                        )


class OpenCorsFromCode(StackRule):
    id = "E9505"
    shortdesc = "code opens CORS to every origin"
    description = (
        "A custom resource that sets AllowedOrigins to `*`, or an answer with Access-Control-Allow-Origin `*`, lets a "
        "page on any site read the images of whoever visits it, and no template check of the bucket sees it. Name the "
        "origin, and set CORS on the bucket itself."
    )
    subjects = ("lambda", "cors")

    def faults(self, view: View) -> Iterator[Fault]:
        for code, tree in parsed(view):
            for node in every_origin(tree):
                line = getattr(node, "lineno", 1)
                yield code.path, f"{code.owner.name}, line {line}: answers pages of every origin; name the worker page's."
        for spot, name, line in searched(view, SCRIPT_EVERY_ORIGIN):
            yield spot.path, f"{name}, line {line}: answers pages of every origin; name the page's."


class NotPython(StackRule):
    id = "E9506"
    shortdesc = "inline Lambda that Python cannot read"
    description = "The function is created without complaint and fails at every call. Run the code once, or ship a tested zip."
    subjects = ("lambda",)

    def faults(self, view: View) -> Iterator[Fault]:
        for code in inline_code(view):
            if code.error is not None:
                yield code.path, f"{code.owner.name}, line {code.error.lineno}: {code.error.msg}; run the code once."


class NoDeadLetters(StackRule):
    id = "W9507"
    shortdesc = "function whose failed events nobody keeps"
    description = (
        "An event that fails three times is dropped. Name a DeadLetterConfig, or an OnFailure destination in an "
        "EventInvokeConfig; functions that are only called synchronously may be waived."
    )
    subjects = ("lambda",)

    def faults(self, view: View) -> Iterator[Fault]:
        kept = {
            spot.text
            for config in view.resources("AWS::Lambda::EventInvokeConfig")
            if any(found.text for found in config.at("DestinationConfig", "OnFailure", "Destination"))
            for spot in config.at("FunctionName")
        }
        for function in view.resources("AWS::Lambda::Function"):
            for spot in function.at("DeadLetterConfig", "TargetArn"):
                if spot.value is ABSENT and not kept & {"${" + function.name + "}", "${" + function.name + ".Arn}"}:
                    yield spot.path, f"Nobody keeps the events that {function.name} fails on; name a DeadLetterConfig."
