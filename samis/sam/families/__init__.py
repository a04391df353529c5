"""Families of SAM by name: one file each, one line here."""

from __future__ import annotations

from samis.errors import UserError, did_you_mean
from samis.sam.families import mobile_sam, sam, sam2, sam3_tracker, sam_hq
from samis.sam.interface import Family

__all__ = ["FAMILIES", "family_named", "family_of_names"]

FAMILIES: dict[str, Family] = {
    "sam": sam.FAMILY,
    "mobile_sam": mobile_sam.FAMILY,
    "sam_hq": sam_hq.FAMILY,
    "sam2": sam2.FAMILY,
    "sam3_tracker": sam3_tracker.FAMILY,
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


def family_of_names(names: set[str]) -> str | None:
    """Return the family whose official files have tensors of these names; None if none has."""
    return next((name for name, family in FAMILIES.items() if family.is_official(names)), None)
