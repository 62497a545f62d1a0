"""Papers by key, read from the one ``references.bib`` of the package."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from theodolite.core.errors import unknown

__all__ = ["Reference", "cite", "described", "references"]


@dataclass(frozen=True)
class Reference:
    """One bibliography entry."""

    key: str
    kind: str
    fields: Mapping[str, str]

    def __str__(self) -> str:
        authors = self.fields.get("author", "").split(" and ")
        surnames = [a.split(",")[0] if "," in a else a.split()[-1] for a in authors if a]
        names = surnames[0] if len(surnames) == 1 else " & ".join(surnames) if len(surnames) == 2 else f"{surnames[0]} et al."
        where = self.fields.get("journal") or self.fields.get("booktitle") or ""
        eprint = f", arXiv {self.fields['eprint']}" if "eprint" in self.fields else ""
        return (
            f"{names} ({self.fields.get('year', '?')}), {self.fields.get('title', '')}" + (f", {where}" if where else "") + eprint
        )

    @property
    def bibtex(self) -> str:
        """The entry as BibTeX."""
        body = ",\n".join(f"  {name} = {{{value}}}" for name, value in self.fields.items())
        return f"@{self.kind}{{{self.key},\n{body}\n}}"


@functools.cache
def references() -> Mapping[str, Reference]:
    """All entries of ``references.bib`` by key.

    Example:
        >>> references()["jacot2018"].fields["year"]
        '2018'
    """
    text = resources.files("theodolite").joinpath("references.bib").read_text(encoding="utf-8")
    found = {}
    for kind, key, body in re.findall(r"@(\w+)\{([^,\s]+),\n(.*?)\n\}", text, flags=re.DOTALL):
        fields = {name: value.strip() for name, value in re.findall(r"^\s*(\w+)\s*=\s*\{(.*)\},?$", body, flags=re.MULTILINE)}
        found[key] = Reference(key, kind, fields)
    return found


def cite(key: str) -> str:
    """The reference of ``key``, which may carry a place, as in ``"jacot2018 Thm 1"``, as a readable line.

    Raises:
        UnknownNameError: no such key; the nearest ones are listed.

    Example:
        >>> cite("jacot2018 Thm 1").startswith("Jacot et al. (2018)")
        True
    """
    name, _, place = key.partition(" ")
    if name not in references():
        raise unknown("reference", name, references())
    return f"{references()[name]}" + (f", {place}" if place else "")


def described(key: str) -> str:
    """`cite` of ``key``, or the key itself where it stands in no bibliography (a topic of a third party, say)."""
    return cite(key) if key.partition(" ")[0] in references() else key
