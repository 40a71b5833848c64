"""Which names of categories and files can be carried through tables, the workflow and the shell."""

from __future__ import annotations

#: Neither a category nor a table may take the name of what stands for all of them.
RESERVED = ("mean", "all")
#: Bytes; a category is a part of file names, of which a file system allows 255.
LONGEST_CATEGORY = 100


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
    if any("\ud800" <= sign <= "\udfff" for sign in path):  # how Python carries bytes that are no UTF-8
        return "is not UTF-8"
    if any(ord(sign) < 32 or sign in "\x7f\x85\u2028\u2029" for sign in path):
        return "has a line break or another control character"
    return None


def printable(text: str) -> str:
    r"""The text on one line: what no terminal shows is written as in Python, a line break as \n."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text
    )
