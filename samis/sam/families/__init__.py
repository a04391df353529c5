"""Families of SAM by name: one file each, one line here."""

from __future__ import annotations

from samis.errors import UserError, did_you_mean
from samis.sam.families import sam
from samis.sam.interface import Family

__all__ = ["FAMILIES", "family_named"]

FAMILIES: dict[str, Family] = {
    "sam": sam.FAMILY,
}


def family_named(architecture: str) -> Family:
    """Return the family that a value of ``segmenter.architecture`` belongs to.

    Raises:
        UserError: none has it.
    """
    for family in FAMILIES.values():
        if architecture in family.names():
            return family
    known = [name for family in FAMILIES.values() for name in family.names()]
    raise UserError(
        f"segmenter.architecture: expected one of {', '.join(known)}, got '{architecture}'{did_you_mean(architecture, known)}",
        code="E-SAM-ARCHITECTURE",
    )
