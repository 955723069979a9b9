"""Who may search: a token of OpenID Connect (Cognito), a local token, or anybody on this machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """Who asks."""

    subject: str
    name: str = ""
