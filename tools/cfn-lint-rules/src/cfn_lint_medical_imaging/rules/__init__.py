"""The rules, one module per subject. A class with an `id` is a rule; one without is a base class."""

from types import ModuleType

from cfn_lint_medical_imaging.rules import (
    containers,
    iam_permissions,
    lambda_functions,
    lifecycle,
    network,
    resource_access,
    sagemaker,
    storage,
)
from cfn_lint_medical_imaging.template_rule import TemplateRule

MODULES: tuple[ModuleType, ...] = (
    network,
    containers,
    storage,
    iam_permissions,
    resource_access,
    lambda_functions,
    sagemaker,
    lifecycle,
)


def rules_of(module: ModuleType) -> list[type[TemplateRule]]:
    """Return the rules that a module defines, by id."""
    classes = [item for item in vars(module).values() if isinstance(item, type) and issubclass(item, TemplateRule)]
    return sorted((rule for rule in classes if rule.id), key=lambda rule: rule.id)


RULES: tuple[type[TemplateRule], ...] = tuple(rule for module in MODULES for rule in rules_of(module))
