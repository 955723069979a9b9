"""cfn-lint rules for CloudFormation templates of systems that handle patients' images.

Use them with `cfn-lint --append-rules cfn_lint_medical_imaging -- template.yaml`, or from Python with `check_template`.
"""

from cfn_lint_medical_imaging.checks import check_template
from cfn_lint_medical_imaging.rules import RULES

__all__ = ["RULES", "check_template"]

# `cfn-lint --append-rules MODULE` takes every rule class that it finds in the namespace of the module.
globals().update({rule.__name__: rule for rule in RULES})
