"""The commands: one for each rule of the workflow, usable without it, and the tools.

What takes time to import is imported inside `main`, where Ctrl-C is met.
"""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from drdc.runtime.arguments import natural, positive, seed
from drdc.runtime.endings import exit_code
from drdc.runtime.errors import UserError

if TYPE_CHECKING:
    from drdc.results.layout import Layout

STAGES = {
    "prepare": "list and check the dataset: manifest.csv, masks.npy",
    "images": "resize all images to one size: images/<size>.npy",
    "features": "compute the backbone's features: features.npy",
    "groups": "find the known category that each image is most like: groups.csv",
    "train": "train base, diffusion, unconditional, or a method of the configuration",
    "predict": "compute what is stored of test and held-out images: seed<k>/predictions/",
    "score": "compute the metrics of a variant of DRDC, of a method, or of the controls: seed<k>/scores/",
    "self-check": "try a trained method on synthetic defects: self_check/<method>.csv",
    "export": "write a trained method with its calibration in one file: detectors/<method>.safetensors",
    "recommend": "write the detector to use, by the self-checks of all methods: recommended.safetensors",
    "points": "write the experiments of a study: points/<experiment>.yaml",
    "gather": "collect the scores of a study's experiments: study.csv",
    "collect": "collect the scores of all seeds, variants and methods: scores.csv",
    "costs": "measure time, memory and size of all methods: costs.csv",
    "tables": "write the tables: tables/",
    "figures": "draw the figures: figures/",
    "gallery": "write the page to browse all heatmaps: gallery.html",
    "about": "write settings, versions, hardware and run times: about.html",
    "partial-report": "after failed jobs, write a partial report",
}
#: Modules of `drdc.tools`, which define their own arguments: commands that are not rules, and the two rules
#: that use the network.
TOOLS: dict[str, str] = {
    "detect": "find defects in images with a trained method: scores, decisions, heatmaps",
    "onnx": "write the fast mode of DRDC's detector as one ONNX file, for other runtimes",
    "check": "list all problems of a dataset",
    "new-experiment": "write a configuration for a folder of images, sized for this machine",
    "workflow": "print where the Snakefile is, and the experiments and profiles next to it",
    "plan": "print jobs, hours, disk and memory of an experiment before anything runs",
    "status": "show the running, failed and waiting jobs of a run of the workflow",
    "serve": "serve a local page to drop images on and see what is found",
    "download": "fetch, verify and unpack a published dataset, or all that an experiment needs",
    "weights": "fetch the pre-trained networks of an experiment: weights/",
}
SEEDED = ("train", "predict", "score")
#: The argument NAME of these stages, see `drdc.experiment.stage_settings.used_by`.
OF = {
    "train": "base, diffusion, unconditional, or a method of the configuration",
    "predict": "a variant of DRDC, as steps=1, or a method of the configuration (default: DRDC)",
    "score": "as for predict, or `controls` (default: DRDC)",
    "self-check": "a method of the configuration (default: DRDC)",
    "export": "a method of the configuration (default: DRDC)",
}
#: What `--help` shows as an example, after the command.
EXAMPLES = {
    "detect": "--model results/demo --output found results/demo/dataset/wood/test",
    "onnx": "--model results/demo --output detector.onnx",
    "check": "our-parts",
    "new-experiment": "our-parts --minutes 90",
    "workflow": "config/mvtec.yaml",
    "plan": "--config config/mvtec.yaml --gpu h100",
    "status": "demo --watch",
    "serve": "--model results/demo",
    "download": "mvtec --to data/mvtec",
    "weights": "--config config/mvtec.yaml",
    "recommend": "--config config/demo-systems.yaml",
    "points": "--config config/study-images.yaml",
    "gather": "--config config/study-images.yaml",
}
#: The arguments before `--config` in the example of a stage.
FIRST_OF = {
    "images": "64 ",
    "train": "diffusion ",
    "tables": "summary ",
    "figures": "fig3 ",
    "partial-report": "collect tables.summary ",
}
#: Commands that may use the network; all others find pre-trained networks only in the hub's cache.
ONLINE = ("download", "weights")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, what a tool gives, or one of `drdc.runtime.endings`."""
    return exit_code(partial(_main, arguments))


def _main(arguments: Sequence[str] | None) -> int:
    from drdc.runtime.logs import log_to_stderr

    _be_somebody()
    given = sys.argv[1:] if arguments is None else arguments
    command = next((word for word in given if not word.startswith("-")), "")
    options = vars(_parser(command).parse_args(given))
    del options["command"]
    log_to_stderr()
    if command not in ONLINE:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is imported
    if command in TOOLS:
        return _tool(command).run(**options) or 0
    run(command, **options)
    return 0


def _be_somebody() -> None:
    """Libraries need the user's name and home folder, which a bare user id in a container may not have."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("USER", str(os.getuid()))
        os.environ.setdefault("HOME", "/nonexistent")  # as the manual says, nothing can be kept there


def run(
    command: str,
    *,
    config: str,
    threads: int | None = None,
    gpu: int = 0,
    of: str | None = None,
    **wildcards: Any,
) -> None:
    """Run a stage with the settings it uses.

    Args:
        command: a key of `STAGES`.
        config: YAML file, or what the workflow hands over, see `stage_settings`.
        threads: CPU threads; default: all.
        gpu: number of GPUs to claim on a machine that several jobs share; a training takes several at once.
        of: the argument NAME, see `OF`; None for DRDC.
        wildcards: `seed`, `category`, `name`, `size` where the stage has them; None stands for all. A
            training has `processes` too, None for one on each GPU.
    """
    from drdc.experiment.stage_settings import stage_settings
    from drdc.results.layout import Layout
    from drdc.runtime.devices import claim_gpus

    stage = command.replace("-", "_")
    experiment, settings = stage_settings(stage, config, of or "")
    layout = Layout(experiment)
    gpus = claim_gpus(gpu)
    if command == "train":
        wildcards["model"] = of
        wildcards["processes"] = _processes(wildcards.get("processes"), gpus if gpu else gpus[:1])
    _compute_with(threads or os.cpu_count() or 1, wildcards.get("processes", 1))
    for part in _parts(layout, wildcards, settings):
        _stage(stage)(layout, **part, **settings)


def _parts(layout: Layout, wildcards: dict[str, Any], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The wildcards of each job that a command stands for."""
    if "category" not in wildcards or wildcards["category"] is not None:
        return [wildcards]
    from drdc.config.variants import predicted_parts
    from drdc.data.manifest import read_manifest

    categories = sorted(set(read_manifest(layout.manifest).category))
    name = settings["stored"].name if "stored" in settings else settings["method"].name
    return [wildcards | {"category": part} for part in predicted_parts(name, categories)]


def _processes(wanted: int | None, gpus: list[str]) -> int:
    """Processes of a training: one for each of its GPUs, or on the CPU as many as are wanted."""
    if wanted is not None and gpus and wanted != len(gpus):
        raise UserError(
            f"--processes {wanted}", "with GPUs there is one process for each", f"give --gpu {wanted}"
        )
    return wanted or max(1, len(gpus))


def _compute_with(threads: int, processes: int) -> None:
    """Share the CPU threads among a command's processes, before torch is imported."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(max(1, threads // processes))
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def _stage(name: str) -> Any:
    """The stage's function; imported late, because torch is slow to import and not every command needs it."""
    return getattr(import_module(f"drdc.stages.{name}"), name)


def _tool(name: str) -> Any:
    """The tool's module, which imports torch and the like only when it runs."""
    return import_module(f"drdc.tools.{name.replace('-', '_')}")


def _parser(wanted: str) -> argparse.ArgumentParser:
    """All commands, with the arguments of the one that is wanted: those of a tool take long to import."""
    about = __import__("drdc")
    parser = argparse.ArgumentParser(
        "drdc",
        usage="drdc [-h] [--version] COMMAND ...",
        description=about.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_overview(),
    )
    parser.add_argument("--version", action="version", version=f"drdc {about.__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, prog="drdc", metavar="COMMAND", help=argparse.SUPPRESS
    )
    for name, text in TOOLS.items():
        command = commands.add_parser(name, description=text, epilog=_example(name))
        if name == wanted:
            _tool(name).arguments(command)
    for name, text in STAGES.items():
        _add_stage_arguments(commands.add_parser(name, description=text, epilog=_example(name)), name)
    return parser


def _overview() -> str:
    """All commands in two groups: what a user types, and what the workflow does."""
    groups = {
        "tools, the last two of which are also rules:": TOOLS,
        "stages, the rules of the workflow (`snakemake` runs them), each from a configuration:": STAGES,
    }
    lines = []
    for title, commands in groups.items():
        lines += [title, *(f"    {name:<16}{text}" for name, text in commands.items()), ""]
    return "\n".join([*lines, "`drdc COMMAND --help` has the arguments of each, with an example."])


def _example(command: str) -> str:
    """A line that a user can type."""
    arguments = EXAMPLES.get(command, f"{FIRST_OF.get(command, '')}--config config/config.yaml")
    return f"example: drdc {command} {arguments}"


def _add_stage_arguments(command: argparse.ArgumentParser, name: str) -> None:
    if name in OF:
        command.add_argument("of", metavar="NAME", nargs=None if name == "train" else "?", help=OF[name])
    if name == "train":
        command.add_argument(
            "--processes", type=positive, help="processes that share each batch (default: one for each GPU)"
        )
    if name == "images":
        command.add_argument("size", type=positive, help="height and width in pixels")
    if name in ("tables", "figures"):
        command.add_argument("name", nargs="?", help="one of them; an unknown name lists them (default: all)")
    if name == "partial-report":
        command.add_argument("jobs", nargs="+", help="what is wanted, by the names of the jobs' logs")
    command.add_argument(
        "--config", default="config/config.yaml", help="YAML file of an experiment (default: %(default)s)"
    )
    if name in SEEDED:
        command.add_argument("--seed", type=seed, default=0, help="seed (default: %(default)s)")
    if name == "export":
        command.add_argument("--seed", type=seed, help="seed (default: the experiment's first)")
    if name == "predict":
        command.add_argument("--category", help="one category (default: all)")
    command.add_argument("--threads", type=positive, help="CPU threads (default: all)")
    command.add_argument(
        "--gpu", type=natural, default=0, help="GPUs to claim for this job alone (default: any visible)"
    )
