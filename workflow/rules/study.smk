# A study: the same experiment with other training data, each time a whole run of this workflow.


rule points:
    output:
        [LAYOUT.point(name) for name in STUDIED],
    log:
        "results/{experiment}/logs/points.log".format(experiment=EXPERIMENT.experiment),
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=30,
    params:
        config=settings("points"),
    message:
        "Writing the configurations of a study"
    shell:
        "drdc points --config {params.config:q} > {log:q} 2>&1"


rule point:
    input:
        config="results/{experiment}/points/{point}.yaml",
    output:
        done=touch("results/{experiment}/points/{point}.done"),
    log:
        "results/{experiment}/logs/point.{point}.log",
    benchmark:
        "results/{experiment}/benchmarks/point.{point}.tsv"
    threads: point_threads
    resources:
        mem_mb=memory(POINT_MEGABYTES),
        runtime=2880,
        gpu=1,
    params:
        snakefile=internals.snakefile(workflow),
        # Not for the command: they make the rule run again when files of the dataset, of weights or of heatmaps
        # that were made elsewhere have changed.
        dataset=trigger(LAYOUT.dataset, LISTING),
        weights=[weights_files(name) for name in (BACKBONE, *EXPERIMENT.methods)],
        heatmaps=[settings("predict", name) for name in IMPORTED],
    message:
        "Running {wildcards.point}"
    shell:
        "snakemake results/{wildcards.point}/scores.csv --snakefile {params.snakefile:q} --cores {threads} "
        "--nolock --configfile {input.config:q} > {log:q} 2>&1"


rule gather:
    input:
        [LAYOUT.point(name, ".done") for name in STUDIED],
    output:
        study="results/{experiment}/study.csv",
    log:
        "results/{experiment}/logs/gather.log",
    benchmark:
        "results/{experiment}/benchmarks/gather.tsv"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=30,
    params:
        config=settings("gather"),
    message:
        "Collecting the scores of a study"
    shell:
        "drdc gather --config {params.config:q} > {log:q} 2>&1"
