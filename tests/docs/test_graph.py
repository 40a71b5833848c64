"""What docs/workflow.md shows of the workflow: the graph of its rules, and its use as a module of another."""

import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

from blocks import ROOT, blocks

PAGE = ROOT / "docs/workflow.md"
Edges = set[tuple[str, str]]


def edges(graph: str) -> Edges:
    """(rule, rule that needs it) of a Mermaid graph; its short names change from run to run."""
    names = dict(re.findall(r"^\s*(\w+)\[(\w+)\]$", graph, re.M))
    found = re.findall(r"^\s*(\w+) --> (\w+)$", graph, re.M)
    return {(names.get(first, first), names.get(second, second)) for first, second in found}


def reduced(every: Edges) -> Edges:
    """Without those that follow from others."""
    needs: dict[str, set[str]] = {}
    for first, second in every:
        needs.setdefault(second, set()).add(first)
    behind: dict[str, set[str]] = {}
    for rule in TopologicalSorter(needs).static_order():
        behind[rule] = set().union(*({one} | behind[one] for one in needs.get(rule, ())))
    return {(a, b) for a, b in every if not any(a in behind[other] for other in needs[b])}


def test_the_graph_is_that_of_the_demo() -> None:
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "mermaid-js"]
    drawn = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (shown,) = [block for block in blocks(PAGE) if block.language == "mermaid"]
    assert edges(shown.text) == reduced(edges(drawn))
    assert ("train", "predict") in edges(shown.text)


def test_another_workflow_uses_it_as_a_module(tmp_path: Path) -> None:
    (module,) = [block for block in blocks(PAGE) if "\nmodule drdc:" in block.text]
    (tmp_path / "Snakefile").write_text(module.text)
    (tmp_path / "own.yaml").write_bytes((ROOT / "tests/workflow/tiny.yaml").read_bytes())
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1"]
    plan = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert plan.returncode == 0, plan.stderr
    assert re.search(r"^train +3$", plan.stdout + plan.stderr, re.M)
