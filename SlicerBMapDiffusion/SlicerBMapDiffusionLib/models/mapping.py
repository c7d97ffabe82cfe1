"""Which class of a model a segment is, guessed: by its terminology code, then by its name.

A guess that could be wrong is none: the user's table then shows the segment as not mapped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SegmentInfo:
    """What is known of a segment.

    Args:
        id: the segment's id.
        name: the segment's name.
        terminology: the segment's terminology entry as Slicer writes it,
            ``context~category~type~modifier~anatomic context~region~modifier``, each code ``scheme^value^meaning``.
    """

    id: str
    name: str
    terminology: str = ""


def guess_classes(segments: Sequence[SegmentInfo], classes: Sequence[str]) -> dict[str, str | None]:
    """The class of each segment, None where none or more than one would fit.

    Several segments may be one class: a left and a right lobe are one gland.

    Args:
        segments: what there is in the segmentation.
        classes: the model's names for its labels, e.g. "left-ventricle cavity".

    >>> guess_classes([SegmentInfo("a", "LV"), SegmentInfo("b", "aorta")], ["left-ventricle cavity", "myocardium"])
    {'a': 'left-ventricle cavity', 'b': None}
    """
    return {segment.id: _guess(segment, classes) for segment in segments}


@dataclass(frozen=True)
class _Structure:
    """A structure by its codes and by what its names match.

    The codes are SNOMED CT, then SNOMED RT as older files have it, paired as in DICOM PS3.16, table O-1.
    """

    codes: tuple[str, ...]
    words: str
    never: str = ""

    def named(self, text: str) -> bool:
        return _says(self.words, text) and not (self.never and _says(self.never, text))


def _says(words: str, text: str) -> bool:
    return re.search(rf"\b(?:{words})\b", text) is not None


_PARTS = r"valves?|appendage|laa|raa|thromb\w*|outflow|inflow|lvot|rvot|mass"
_WALL = r"\w*myo\w*|wall|\w*epi\w*|muscle|sept\w+|papillary"

# Those that no model draws are here so that they are never taken for a neighbour.
_STRUCTURES = {
    "left ventricle": _Structure(
        ("87878005", "T-32600"),
        r"lv|left ventric\w*|ventric\w* left|(?:lv)?endo\w*",
        rf"{_WALL}|{_PARTS}|right|rv|\w*atri\w*|la|lateral|brain",
    ),
    "myocardium": _Structure(
        ("74281007",),
        r"(?:lv)?myo|(?:lv)?myocard\w*|(?:lv|left ventric\w*) (?:wall|muscle)|heart muscle",
        rf"{_PARTS}|right|rv|\w*atri\w*|la|infarct\w*|scar",
    ),
    "left atrium": _Structure(
        ("82471001", "T-32300"), r"la|left atri\w*|atri\w* left", rf"{_WALL}|{_PARTS}|right|ra|\w*ventric\w*|lv"
    ),
    "right ventricle": _Structure(("53085002", "T-32500"), r"rv|right ventric\w*|ventric\w* right"),
    "right atrium": _Structure(("73829009", "T-32200"), r"ra|right atri\w*|atri\w* right"),
    "thyroid": _Structure(
        ("69748006", "T-B6000"),
        r"thyroid(?:ea)?|schilddr(?:ü|ue)se",
        r"cartilage|arter\w+|vein|nodul\w*|nodes?|cysts?|tumou?rs?|lesions?|cancer|\w*carcinoma",
    ),
    "liver": _Structure(("10200004", "T-62000"), r"liver|hepar", r"veins?|arter\w+|lesions?|tumou?rs?|cysts?"),
    "fetal head": _Structure((), r"f(?:o?etal|o?etus) (?:head|skull)"),
}

_SIDES = {"7771000": "left", "24028007": "right", "G-A101": "left", "G-A100": "right"}


def _guess(segment: SegmentInfo, classes: Sequence[str]) -> str | None:
    name = _words(segment.name)
    if same := [known for known in classes if _words(known) == name]:
        return same[0] if len(same) == 1 else None
    structure = _coded(segment.terminology) or _named(name)
    fitting = [known for known in classes if structure is not None and _named(_words(known)) == structure]
    return fitting[0] if len(fitting) == 1 else None


def _coded(terminology: str) -> str | None:
    """The structure that a terminology entry's type, or else its region, says."""
    fields = [field.split("^") for field in terminology.split("~")] + [[""]] * 7
    for place in (2, 5):
        value, meaning = (*fields[place][1:3], "", "")[:2]
        for structure, known in _STRUCTURES.items():
            if value in known.codes:
                return structure
        # "Atrium", modified by "Left".
        side = next((_SIDES[part] for part in fields[place + 1] if part in _SIDES), "")
        if found := _named(_words(f"{side} {meaning}")):
            return found
    return None


def _named(text: str) -> str | None:
    found = [structure for structure, known in _STRUCTURES.items() if known.named(text)]
    return found[0] if len(found) == 1 else None


def _words(name: str) -> str:
    """Lower case, words apart: "LeftVentricle_endo-1" becomes "left ventricle endo 1"."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", name)
    return " ".join(re.sub(r"[\W_]+", " ", apart).lower().split())
