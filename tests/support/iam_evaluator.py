"""What AWS would say to a request, worked out from the policies alone.

The order is the documented one: an explicit deny wins; within an account either the caller's own policies or the policy of the
resource must allow; a key and a role's trust must allow in their own policy; between accounts both sides must. Boundaries,
service control policies and sessions are not modelled, and an operator or policy variable that is not known here raises, so
that no statement is passed over in silence. (`iam-simulate` is a Node package, and `parliament`, on PyPI, judges policies but
answers no requests; whether an action exists is what rule E9413 asks.)
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Statement = Mapping[str, Any]


class PolicyError(Exception):
    """A policy says something that this evaluator does not know."""


@dataclass(frozen=True)
class Request:
    """One call.

    Parameters
    ----------
    principal : str
        ARN of a role, or the name of a service such as `s3.amazonaws.com`.
    action, resource : str
        `s3:GetObject` and the ARN it is asked for.
    context : mapping
        Condition keys and their values; text or a list of texts.
    """

    principal: str
    action: str
    resource: str
    context: Mapping[str, Any] = field(default_factory=dict)

    @property
    def caller_account(self) -> str | None:
        return self.principal.split(":")[4] if self.principal.startswith("arn:") else None

    def value(self, key: str) -> Any:
        built_in = {"aws:principalaccount": self.caller_account, "aws:principalarn": self.principal}
        given = {name.lower(): value for name, value in self.context.items()}
        return given.get(key.lower(), built_in.get(key.lower()))


def decide(
    request: Request, identity: list[Statement], attached: list[Statement], *, owner: str, must_name: bool = False
) -> bool:
    """Whether a request is allowed.

    Parameters
    ----------
    identity : list of statements
        What the caller's own policies say.
    attached : list of statements
        What the policy of the resource says: a bucket's, a key's, a function's, or the trust of a role.
    owner : str
        Account that the resource belongs to.
    must_name : bool
        The policy of the resource must allow too, even within the account: keys and trust policies.
    """
    own = [statement for statement in identity if applies(statement, request)]
    theirs = [statement for statement in attached if names(statement, request) and applies(statement, request)]
    if any(statement["Effect"] == "Deny" for statement in own + theirs):
        return False
    allowed_here = bool(own)
    directly = any(_directly(statement, request) for statement in theirs)
    by_account = bool(theirs) and allowed_here
    if request.caller_account is None:
        return directly
    if request.caller_account != owner:
        return allowed_here and bool(theirs)
    return directly or by_account if must_name else allowed_here or directly


def applies(statement: Statement, request: Request) -> bool:
    """Whether action, resource and conditions of a statement fit a request."""
    if "NotAction" in statement or "NotResource" in statement:
        raise PolicyError(f"NotAction and NotResource are not known here: {statement}")
    action = any(like(pattern.lower(), request.action.lower()) for pattern in listed(statement["Action"]))
    resource = any(like(pattern, request.resource) for pattern in listed(statement.get("Resource", "*")))
    return action and resource and all(
        holds(operator, key, wanted, request)
        for operator, pairs in statement.get("Condition", {}).items()
        for key, wanted in pairs.items()
    )  # fmt: skip


def names(statement: Statement, request: Request) -> bool:
    """Whether the principal of a statement is the caller, his account or everybody."""
    principal = statement.get("Principal")
    if principal is None:
        raise PolicyError(f"a policy of a resource names no principal: {statement}")
    if principal == "*":
        return True
    if request.caller_account is None:
        return any(like(pattern, request.principal) for pattern in listed(principal.get("Service", [])))
    account = request.caller_account
    return any(
        pattern in ("*", request.principal, account, f"arn:aws:iam::{account}:root")
        for pattern in listed(principal.get("AWS", []))
    )


def _directly(statement: Statement, request: Request) -> bool:
    """Whether the statement names the caller rather than leaving it to his account's policies."""
    principal = statement["Principal"]
    if principal == "*" or request.caller_account is None:
        return True
    return any(pattern in ("*", request.principal) for pattern in listed(principal.get("AWS", [])))


def holds(operator: str, key: str, wanted: Any, request: Request) -> bool:
    """Whether one line of a condition is met."""
    quantifier, _, plain = operator.rpartition(":")
    optional = plain.endswith("IfExists")
    plain = plain.removesuffix("IfExists")
    found = request.value(key)
    values = [str(value).lower() if isinstance(value, bool) else str(value) for value in listed(wanted)]
    if plain == "Null":
        return (found is None) == (values == ["true"])
    negative = "Not" in plain
    if found is None:
        # A missing key meets a negative operator, an IfExists one and ForAllValues; it fails every other.
        return optional or negative or quantifier == "ForAllValues"
    test = _test(plain.replace("Not", ""))
    hits = [any(test(value, str(item)) for value in values) for item in listed(found)]
    met = all(hits) if quantifier == "ForAllValues" else any(hits)
    return not met if negative else met


def _test(operator: str) -> Any:
    numeric = {
        "NumericLessThan": lambda wanted, found: float(found) < float(wanted),
        "NumericLessThanEquals": lambda wanted, found: float(found) <= float(wanted),
        "NumericGreaterThan": lambda wanted, found: float(found) > float(wanted),
        "NumericEquals": lambda wanted, found: float(found) == float(wanted),
    }
    tests: dict[str, Any] = {
        "StringEquals": lambda wanted, found: wanted == found,
        "StringEqualsIgnoreCase": lambda wanted, found: wanted.lower() == found.lower(),
        "StringLike": like,
        "ArnEquals": arn_like,
        "ArnLike": arn_like,
        "Bool": lambda wanted, found: wanted.lower() == found.lower(),
        "IpAddress": lambda wanted, found: ipaddress.ip_address(found) in ipaddress.ip_network(wanted),
        **numeric,
    }
    if operator not in tests:
        raise PolicyError(f"the condition operator {operator} is not known here")
    return tests[operator]


def like(pattern: str, text: str) -> bool:
    """Whether text fits a pattern with `*` and `?`; other characters, brackets too, stand for themselves."""
    if re.search(r"\$\{(?![*?$]\})", pattern):
        raise PolicyError(f"policy variables are not known here: {pattern}")
    escaped = pattern.replace("[", "[[]")
    return fnmatch.fnmatchcase(text, escaped)


def arn_like(pattern: str, text: str) -> bool:
    """Whether an ARN fits a pattern part by part: a `*` does not reach over a colon, but for the last part."""
    wanted, found = pattern.split(":", 5), text.split(":", 5)
    return len(wanted) == len(found) and all(like(part, other) for part, other in zip(wanted, found, strict=True))


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
