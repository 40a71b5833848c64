"""Which names of categories and files are safe in tables, the workflow and the shell."""

from __future__ import annotations

import re
import unicodedata

#: All categories together, in files and options.
ALL = "all"
#: Names that mean all categories; no category may have them.
RESERVED = ("mean", ALL)
#: Bytes; a category is a part of file names, of which a file system allows 255.
LONGEST_CATEGORY = 100
#: Names of folders of normal images, letters only, in lower case.
_GOOD = {"good", "goods", "ok", "okay", "oks", "normal", "normals"}
_PERHAPS_GOOD = """
    pass passed io accept accepted acceptable approved qualified conforming clean fine healthy intact correct
    perfect flawless faultless undamaged unbroken unflawed nominal norm regular standard reference ref golden
    valid negative negatives neg ordinary usual gd gut inordnung fehlerfrei bon bons bonne sain conforme bueno
    buenos buena bien bom boa buono buoni goed goedgekeurd bra godkand godkänd dobry dobre норма хорошо годен
    хороший годный 正常 良品 合格 良 合格品 정상 양품
"""
_NOT = {"no", "not", "non", "un", "ab", "n", "bad", "nicht", "kein", "keine", "pas", "nok", "ng", "defective"}
_WITHOUT = r"(?:no|non|not|without|zero|sans|un|ohne|kein|keine)"
_DEFECT = r"(?:defect|anomal|fault|error|flaw|damage|crack|scratch|blemish|fehler|defaut)[a-z]*?"
_WITHOUT_DEFECT = re.compile(rf"{_WITHOUT}{_DEFECT}|{_DEFECT}(?:free|less|frei)")


def sounds_good(name: str) -> bool:
    """Whether a folder probably holds normal images, by its name: OK, normal_2, defect-free, 正常."""
    plain = unicodedata.normalize("NFKC", re.sub("(?<=[a-z])(?=[A-Z])", " ", name)).casefold()
    words = re.findall(r"[^\W\d_]+", plain)
    joined = "".join(words)
    return (
        joined in _GOOD.union(_PERHAPS_GOOD.split())
        or joined.startswith("good")
        or bool(_GOOD & set(words) and not _NOT & set(words))
        or bool(_WITHOUT_DEFECT.fullmatch(joined))
        or bool(re.fullmatch(r"(class|label)?[\W_]*0+", plain))
    )


def category_fault(name: str) -> str | None:
    """Why a folder cannot be a category, or None; a category is part of paths, wildcards and arguments."""
    faults = {
        "stands for all categories": name in RESERVED,
        "is empty, or begins or ends with a space": not name or name != name.strip(),
        "begins with a dot or a dash": name.startswith((".", "-")),
        "has a slash": "/" in name,
        "has a brace or angle bracket, a placeholder of Snakemake": any(sign in name for sign in "{}<>"),
        f"is longer than {LONGEST_CATEGORY} bytes": len(name.encode(errors="replace")) > LONGEST_CATEGORY,
    }
    return path_fault(name) or next((fault for fault, true in faults.items() if true), None)


def path_fault(path: str) -> str | None:
    """Why a file cannot be listed in the manifest, or None."""
    if any("\ud800" <= sign <= "\udfff" for sign in path):  # how Python represents bytes that are not UTF-8
        return "is not UTF-8"
    if any(ord(sign) < 32 or sign in "\x7f\x85\u2028\u2029" for sign in path):
        return "has a line break or another control character"
    return None


def printable(text: str) -> str:
    r"""The text on one line: what no terminal shows is written as in Python, a line break as \n."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text
    )
