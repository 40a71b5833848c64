# All that the report shows, without the report itself.
rule everything:
    input:
        f"{RESULTS}/about.html",
        shown(),


# Last of all, because it reports the time of each job.
rule about:
    input:
        scores="results/{experiment}/scores.csv" if TESTED else [],
        problems="results/{experiment}/problems.csv",
        manifest="results/{experiment}/manifest.csv",
        shown=shown(),
    output:
        about=report(
            "results/{experiment}/about.html",
            caption="../report/about.rst",
            category=SECTIONS["about"],
            labels={"result": "Settings, versions, hardware, run times"},
        ),
        front_page="results/{experiment}/front_page.html",
        settings="results/{experiment}/config.yaml",
    log:
        "results/{experiment}/logs/about.log",
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=60,
    params:
        config=settings("about"),
    message:
        "Writing settings, versions and run times"
    shell:
        "drdc about --config {params.config:q} > {log:q} 2>&1"


# One self-contained page of all tables and figures, by Snakemake itself: a second call, which only reads.
rule html_report:
    input:
        rules.everything.input,
    output:
        report="results/{experiment}/report.html",
    log:
        "results/{experiment}/logs/report.log",
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        snakefile=internals.snakefile(workflow),
        stylesheet=f"{workflow.basedir}/workflow/report/report.css",
    message:
        "Writing the report"
    shell:
        "snakemake --snakefile {params.snakefile:q} --configfile results/{wildcards.experiment}/config.yaml "
        "--cores 1 --nolock --report-stylesheet {params.stylesheet:q} --report {output.report:q} everything "
        "> {log:q} 2>&1"


# Named targets: `snakemake table5`, `snakemake fig2`, `snakemake report`.
rule report:
    input:
        f"{RESULTS}/report.html",
        f"{RESULTS}/gallery.html" if TESTED else [],


for name in {**TABLES, **FIGURES}:

    rule:
        name:
            name
        input:
            [
                f"{RESULTS}/{kind}/{name}.{ending}"
                for kind, ending, names in (
                    ("tables", "md", TABLES),
                    ("figures", "png", FIGURES),
                )
                if name in names
            ],
