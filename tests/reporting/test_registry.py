"""Tables and figures declare themselves: what is declared is found, and finding it is quick."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from drdc.config.described import Described
from drdc.config.evaluation import Evaluation
from drdc.config.fusion import Fusion
from drdc.config.sampling import Sampling
from drdc.reporting.declared import DECLARED, SECTIONS, figure, table
from drdc.reporting.kinds import READERS, Source, lacking
from drdc.reporting.registry import FIGURES, TABLES, chosen
from drdc.results.layout import Layout
from drdc.runtime.errors import UserError

SLOW = {"torch", "matplotlib", "scipy", "diffusers", "timm"}
PLAIN = Source(Layout("toy"), [0], 32, Sampling(), Fusion(), Evaluation(), {})


@pytest.fixture
def undone() -> Iterator[None]:
    """Declarations of a test end with it."""
    before = {shape: dict(declared) for shape, declared in DECLARED.items()}
    yield
    for shape, declared in before.items():
        DECLARED[shape].clear()
        DECLARED[shape].update(declared)


def test_the_tables_and_figures_of_the_paper_are_found() -> None:
    assert {"table1", "table2", "table3", "table4", "table5"} < set(TABLES)
    assert {"fig2", "fig3"} < set(FIGURES)


def test_each_has_heading_and_caption_in_lines_that_start_at_the_margin() -> None:
    for one in (*TABLES.values(), *FIGURES.values()):
        assert one.heading[-1] in ".?"
        assert one.text.startswith(f"**{one.heading}** ")
        assert not any(line.startswith(" ") for line in one.caption.splitlines())
        assert one.caption.endswith(".")


def test_finding_them_imports_nothing_slow() -> None:
    """The workflow does it whenever it plans."""
    code = "import sys, drdc.reporting.registry; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not SLOW & set(done.stdout.split())


@pytest.mark.usefixtures("undone")
def test_a_function_is_declared_unchanged_and_told_of_the_methods_where_it_asks() -> None:
    @table("plain", of="scores", heading="A.", caption="B.")
    def plain(scores: str) -> str:
        return scores

    @table("asking", of="scores", heading="A.", caption="B.")
    def asking(scores: str, described: dict[str, Described]) -> str:
        return f"{scores} of {', '.join(described)}"

    assert plain("scores") == "scores"
    made = [
        DECLARED["table"][name].make("scores", described={"net": Described()}) for name in ("plain", "asking")
    ]
    assert made == ["scores", "scores of net"]


@pytest.mark.usefixtures("undone")
def test_what_cannot_be_declared_is_refused() -> None:
    with pytest.raises(ValueError, match="table 'summary' is declared twice"):
        table("summary", of="scores", heading="A.", caption="B.")(lambda scores: scores)
    with pytest.raises(ValueError, match="no kind of data 'colours'; known: scores, ablation"):
        figure("x", of="colours", heading="A.", caption="B.")
    with pytest.raises(ValueError, match="no section 'end'; known: glance, paper"):
        figure("x", of="scores", heading="A.", caption="B.", section="end")


def test_a_figure_names_the_pictures_that_it_leaves() -> None:
    assert list(FIGURES["fig3"].pictures(["nut", "gear"])) == ["fig3", "overview", "fig3-nut", "fig3-gear"]
    assert list(FIGURES["curves"].pictures(["nut", "gear"])) == ["curves"]


def test_the_report_calls_each_by_another_name() -> None:
    """Snakemake's report shows one of several results with the same labels."""
    titles = [one.title for one in TABLES.values()]
    titles += [title for one in FIGURES.values() for title in one.pictures(["nut", "gear"]).values()]
    assert len(set(titles)) == len(titles)
    assert {one.section for one in (*TABLES.values(), *FIGURES.values())} < set(SECTIONS.values())


def test_all_that_an_experiment_has_is_chosen_or_the_one_that_is_named() -> None:
    names = {one.name for one in chosen(TABLES, None, PLAIN)}
    assert names == set(TABLES) - {"table5", "readings", "beyond", "study", "reported"}
    assert [one.name for one in chosen(FIGURES, "curves", PLAIN)] == ["curves"]
    listed = replace(PLAIN, described={"net": Described()})
    assert {one.name for one in chosen(FIGURES, None, listed)} == set(FIGURES) - {"fig2", "study"}
    with pytest.raises(UserError, match=r"there is no figure 'table5'; known: coverage, curves, estimates"):
        chosen(FIGURES, "table5", PLAIN)
    with pytest.raises(
        UserError, match=r"table5 needs the variants of the ablation; set evaluation\.ablation"
    ):
        chosen(TABLES, "table5", PLAIN)
    with pytest.raises(UserError, match="heatmaps needs methods to compare DRDC with"):
        chosen(FIGURES, "heatmaps", PLAIN)


def test_only_what_an_experiment_does_not_run_is_lacking() -> None:
    lacks = {kind for kind in READERS if lacking(kind, ["full"], [])}
    assert lacks == {"ablation", "sweeps", "readings", "beyond", "heatmaps", "study", "reported"}
    assert {kind for kind in READERS if not lacking(kind, ["full"], [], study=[4])} == {"study"}
    assert not lacking("readings", ["full", "raw"], [])
    assert not lacking("beyond", ["full", "centred"], [])
    assert not lacking("sweeps", ["full", "steps=5"], [])
    assert not lacking("heatmaps", ["full"], ["net"])


@pytest.mark.parametrize(
    "kind", ["costs", "regions", "losses", "image_scores", "curves", "defects", "scores"]
)
def test_data_that_are_not_there_yet_name_the_command(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="run `drdc"):
        PLAIN.read(kind)
