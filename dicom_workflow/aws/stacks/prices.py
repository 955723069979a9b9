"""AWS prices of the services that the stacks use.

The prices are data, ``prices.json``: each has a unit, a region, AWS's page, where and when it was read, and whether it was
confirmed there. They come from stored copies of public pages, without taxes, discounts and free tiers, and serve for estimates.
`load` reads the table of another region from a file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from dicom_workflow.errors import WorkflowError

STATUSES = ("vendor", "secondary", "unconfirmed")
"""Reliability of a price, best first."""


class PriceError(WorkflowError):
    """A price table is invalid, or has no such price."""


@dataclass(frozen=True)
class Tier:
    """A price up to a number of units a month; the last tier ends at infinity."""

    up_to: float
    usd: float


@dataclass(frozen=True)
class Price:
    """The price of one unit in US dollars, and its source."""

    name: str
    service: str
    unit: str
    region: str
    tiers: tuple[Tier, ...]
    source: str
    """AWS's page."""
    read: date
    """When `read_in` was read."""
    status: str
    """``vendor``, ``secondary`` or ``unconfirmed``."""
    read_in: str = ""
    """Where the number was read; empty when it was not looked up."""
    note: str = ""

    @property
    def usd(self) -> float:
        """Price of the first unit."""
        return self.tiers[0].usd

    def cost(self, quantity: float) -> float:
        """Return the cost of a quantity in one month in US dollars, through all tiers.

        Raises
        ------
        PriceError
            The quantity is negative or not finite.
        """
        if not quantity >= 0 or math.isinf(quantity):
            raise PriceError(f"{self.name}: expected a finite quantity of at least 0 {self.unit}, got {quantity}.")
        total, begin = 0.0, 0.0
        for tier in self.tiers:
            total += max(0.0, min(quantity, tier.up_to) - begin) * tier.usd
            begin = tier.up_to
        return total

    @classmethod
    def parse(cls, name: str, data: Mapping[str, Any], where: str = "prices") -> Self:
        """Read one entry of a table.

        Parameters
        ----------
        name : str
        data : mapping
        where : str
            Name of the table, for error messages.

        Raises
        ------
        PriceError
            The entry is incomplete or inconsistent.
        """
        try:
            steps = data["tiers"] if "tiers" in data else [{"up_to": None, "usd": data["usd"]}]
            tiers = tuple(Tier(math.inf if s["up_to"] is None else float(s["up_to"]), float(s["usd"])) for s in steps)
            texts = {key: str(data.get(key, "")) for key in ("read_in", "note")}
            price = cls(
                name,
                str(data["service"]),
                str(data["unit"]),
                str(data["region"]),
                tiers,
                str(data["source"]),
                date.fromisoformat(data["read"]),
                str(data["status"]),
                **texts,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PriceError(
                f"{where}, {name!r}: expected service, unit, region, usd or tiers, source, read and status; "
                f"{type(error).__name__}: {error}."
            ) from None
        price._check(where)
        return price

    def _check(self, where: str) -> None:
        ends = [tier.up_to for tier in self.tiers]
        if not ends or ends[-1] != math.inf or ends != sorted(set(ends)) or any(not tier.usd >= 0 for tier in self.tiers):
            raise PriceError(
                f"{where}, {self.name!r}: expected non-negative prices in increasing tiers, the last without an end."
            )
        if self.status not in STATUSES:
            raise PriceError(f"{where}, {self.name!r}: expected a status of {', '.join(STATUSES)}, got {self.status!r}.")
        if self.status != "unconfirmed" and not self.read_in:
            raise PriceError(f"{where}, {self.name!r}: a {self.status} price needs read_in, the place where it was read.")


@dataclass(frozen=True)
class Prices(Mapping[str, Price]):
    """A table of prices; the error for an unknown name lists the known ones."""

    table: Mapping[str, Price]
    region: str
    hours_per_month: float

    def __getitem__(self, name: str) -> Price:
        try:
            return self.table[name]
        except KeyError:
            known = ", ".join(self.table)
            raise PriceError(f"There is no price {name!r} in {self.region}. Known prices: {known}.") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)

    def __contains__(self, name: object) -> bool:
        return name in self.table

    def cost(self, name: str, quantity: float) -> float:
        """Return the cost of a quantity in one month in US dollars."""
        return self[name].cost(quantity)


def load(path: Path | None = None) -> Prices:
    """Return the prices of the package, or those of a file of the same format.

    Raises
    ------
    PriceError
        The file cannot be read, or an entry is incomplete; the message names it.
    """
    return _packaged() if path is None else _parse(path, str(path))


@cache
def _packaged() -> Prices:
    with resources.as_file(resources.files("dicom_workflow.aws.stacks") / "prices.json") as path:
        return _parse(path, "prices.json")


def _parse(path: Path, where: str) -> Prices:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        region, hours, entries = str(data["region"]), float(data["hours_per_month"]), dict(data["prices"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"{type(error).__name__}: {error}"
        raise PriceError(f"{where}: expected JSON with region, hours_per_month and prices; {found}.") from None
    table = {name: Price.parse(name, entry, where) for name, entry in entries.items()}
    return Prices(MappingProxyType(table), region, hours)


@dataclass(frozen=True)
class Line:
    """One line of a cost note."""

    stack: str
    what: str
    quantity: float
    unit: str
    usd: float
    """US dollars a month."""
    status: str
    """Reliability of the price, see `STATUSES`."""

    @classmethod
    def of(cls, prices: Prices, stack: str, what: str, name: str, quantity: float) -> Self:
        """Return the line of a quantity in one month.

        Parameters
        ----------
        prices : Prices
        stack : str
        what : str
            Description.
        name : str
            Name of the price.
        quantity : float
            In units of the price.
        """
        price = prices[name]
        return cls(stack, what, quantity, price.unit, price.cost(quantity), price.status)

    def to_json(self) -> dict[str, Any]:
        return {key: round(value, 6) if isinstance(value, float) else value for key, value in vars(self).items()}


def total(lines: Iterable[Line]) -> float:
    """Return the sum of some lines in US dollars."""
    return sum(line.usd for line in lines)
