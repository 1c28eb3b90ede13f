"""In the place of trapd.distribute.exact, where there is no numpy: for the tables of tests/support/fake_trap.py."""

from __future__ import annotations

from typing import Any

from trapd.distribute.extraction import plain


class Table(list[Any]):
    def to_dict(self, kind: str) -> list[Any]:
        assert kind == "records"
        return self


def table(frame: Any) -> list[Any]:
    return [plain(row) for row in frame.to_dict("records")]


def frame(table: list[Any]) -> Table:
    return Table(table)


def scalars(values: dict[str, Any]) -> dict[str, Any]:
    return dict(plain(values))


def originals(values: dict[str, Any]) -> dict[str, Any]:
    return dict(values)


def header(image: Any) -> str:
    return "header"


def coordinates(header: str) -> str:
    return header


def positions(values: Any) -> Any:
    return values


def array(values: Any) -> Any:
    return values


def no_fits(columns: list[str]) -> Table:
    return Table()


def timestamp(text: str) -> str:
    return text
