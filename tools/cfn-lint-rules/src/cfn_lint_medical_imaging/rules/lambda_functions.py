"""Lambda functions: inline code, runtime and dead-letter queue."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from cfn_lint_medical_imaging.support_dates import runtime_end_of_support
from cfn_lint_medical_imaging.template.inline_code import (
    JAVASCRIPT_EMPTY_CATCH,
    JAVASCRIPT_LOGS_RECORDS,
    JAVASCRIPT_WILDCARD_ORIGIN,
    InlinePython,
    imported_modules,
    inline_javascript,
    inline_python,
    is_available_in_lambda,
    logged_records,
    matching_lines,
    swallows_exception,
    wildcard_origins,
)
from cfn_lint_medical_imaging.template.values import ABSENT, EACH, Path, ResolvedTemplate
from cfn_lint_medical_imaging.template_rule import DatedRule, Finding, TemplateRule


def parsed_python(template: ResolvedTemplate) -> Iterator[tuple[InlinePython, ast.Module]]:
    """Yield the inline Python that has no syntax error."""
    for code in inline_python(template):
        if code.tree is not None:
            yield code, code.tree


def javascript_matches(template: ResolvedTemplate, pattern: re.Pattern[str]) -> Iterator[tuple[Path, str]]:
    """Yield (path, "function, line N") of every match in inline JavaScript."""
    for function, value in inline_javascript(template):
        for line in matching_lines(pattern, value.text):
            yield value.path, f"{function.name}, line {line}"


class MissingModule(TemplateRule):
    id = "E9501"
    shortdesc = "inline Lambda code that imports a module that is not available"
    description = (
        "Inline code is a single file: besides the standard library it can import boto3, botocore and cfnresponse. Any other "
        "import fails every invocation with ImportModuleError. Deploy a zip package that includes the module, or remove the "
        "import."
    )
    topics = ("lambda",)

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for code, tree in parsed_python(template):
            for statement, module in imported_modules(tree):
                if not is_available_in_lambda(module):
                    yield (
                        code.path,
                        f"{code.function.name}, line {statement.lineno}: inline code cannot import '{module}'. "
                        "Deploy a zip package.",
                    )


class SwallowedException(TemplateRule):
    id = "E9502"
    shortdesc = "inline Lambda code that swallows exceptions"
    description = (
        "A bare `except`, or one for Exception that neither raises nor reports it, loses records while the invocation appears "
        "to succeed. Catch specific exceptions, and let the others reach the retry and the dead-letter queue."
    )
    topics = ("lambda",)

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for code, tree in parsed_python(template):
            for node in ast.walk(tree):
                if isinstance(node, ast.ExceptHandler) and swallows_exception(node):
                    yield (
                        code.path,
                        f"{code.function.name}, line {node.lineno}: every exception is swallowed. Catch specific exceptions.",
                    )
        for path, place in javascript_matches(template, JAVASCRIPT_EMPTY_CATCH):
            yield path, f"{place}: every exception is swallowed. Handle or rethrow it."


class LoggedRecords(TemplateRule):
    id = "E9503"
    shortdesc = "inline Lambda code that logs the event or annotations"
    description = (
        "The event of a labeling function contains image addresses, worker ids and answers. CloudWatch Logs keeps them after "
        "the data itself was deleted. Log counts and opaque ids only."
    )
    topics = ("lambda", "logs")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for code, tree in parsed_python(template):
            for call, name in logged_records(tree):
                yield code.path, f"{code.function.name}, line {call.lineno}: '{name}' is logged. Log a count or an id."
        for path, place in javascript_matches(template, JAVASCRIPT_LOGS_RECORDS):
            yield path, f"{place}: the event or a record is logged. Log a count or an id."


class UnsupportedRuntime(DatedRule):
    id = "E9504"
    shortdesc = "Lambda runtime past its end of support"
    description = (
        "After the end of support a runtime gets no security updates; later AWS blocks creating and then updating functions "
        "that use it. Move to a current runtime. `--configure-rule E9504:today=2027-01-31` checks another day."
    )
    topics = ("lambda", "support")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for function in template.resources("AWS::Lambda::Function", "AWS::Lambda::LayerVersion", "AWS::Serverless::Function"):
            for keys in (("Runtime",), ("CompatibleRuntimes", EACH)):
                for runtime in function.get(*keys):
                    end = runtime_end_of_support(runtime.text)
                    if end and end < self.today:
                        yield (
                            runtime.path,
                            f"{function.name} uses {runtime.text}, out of support since {end}. Move to a current runtime.",
                        )


class CodeAllowsEveryOrigin(TemplateRule):
    id = "E9505"
    shortdesc = "inline Lambda code that allows every CORS origin"
    description = (
        "A custom resource that sets AllowedOrigins to `*`, or a response with Access-Control-Allow-Origin `*`, lets a page "
        "on any site read images with the access of its visitor, and checks of the bucket resource do not see it. Name the "
        "origin, and set CORS on the bucket resource."
    )
    topics = ("lambda", "cors")

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for code, tree in parsed_python(template):
            for node in wildcard_origins(tree):
                line = getattr(node, "lineno", 1)
                yield code.path, f"{code.function.name}, line {line}: every CORS origin is allowed. Name the origin."
        for path, place in javascript_matches(template, JAVASCRIPT_WILDCARD_ORIGIN):
            yield path, f"{place}: every CORS origin is allowed. Name the origin."


class PythonSyntaxError(TemplateRule):
    id = "E9506"
    shortdesc = "inline Lambda code with a Python syntax error"
    description = (
        "CloudFormation creates the function without an error, and every invocation fails. Run the code before deploying, or "
        "deploy a tested zip package."
    )
    topics = ("lambda",)

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        for code in inline_python(template):
            if code.error is not None:
                yield code.path, f"{code.function.name}, line {code.error.lineno}: {code.error.msg}. Fix the syntax error."


class NoDeadLetterQueue(TemplateRule):
    id = "W9507"
    shortdesc = "function without a dead-letter queue or failure destination"
    description = (
        "Lambda discards an event after three failed attempts. Set a DeadLetterConfig, or an OnFailure destination in an "
        "EventInvokeConfig. Ignore this rule for functions that are only invoked synchronously."
    )
    topics = ("lambda",)

    def findings(self, template: ResolvedTemplate) -> Iterator[Finding]:
        with_destination = {
            value.text
            for config in template.resources("AWS::Lambda::EventInvokeConfig")
            if any(destination.text for destination in config.get("DestinationConfig", "OnFailure", "Destination"))
            for value in config.get("FunctionName")
        }
        for function in template.resources("AWS::Lambda::Function"):
            if with_destination & {"${" + function.name + "}", "${" + function.name + ".Arn}"}:
                continue
            for target in function.get("DeadLetterConfig", "TargetArn"):
                if target.raw is ABSENT:
                    yield target.path, f"Failed events of {function.name} are discarded. Set a DeadLetterConfig."
