rule prepare:
    output:
        manifest="results/{experiment}/manifest.csv",
        images="results/{experiment}/images.npy",
        masks="results/{experiment}/masks.npy",
        problems="results/{experiment}/problems.csv",
        regions="results/{experiment}/regions.csv",
    log:
        "results/{experiment}/logs/prepare.log",
    benchmark:
        "results/{experiment}/benchmarks/prepare.tsv"
    threads: all_cores
    resources:
        mem_mb=memory(2000),
        runtime=240,
    params:
        config=settings("prepare"),
        # Not for the command: it makes the rule run again when files of the dataset have changed.
        dataset=trigger(LAYOUT.dataset, LISTING),
    message:
        "Listing and decoding the dataset of {wildcards.experiment}"
    shell:
        "drdc prepare --config {params.config:q} --threads {threads} > {log:q} 2>&1"


rule features:
    input:
        manifest="results/{experiment}/manifest.csv",
    output:
        features="results/{experiment}/features.npy",
    log:
        "results/{experiment}/logs/features.log",
    benchmark:
        "results/{experiment}/benchmarks/features.tsv"
    priority: 100
    # All cores and before any training: once these run, it would wait for all of them.
    threads: all_cores
    resources:
        mem_mb=memory(4000),
        runtime=240,
        gpu=1,
    params:
        config=settings("features"),
    message:
        "Computing the backbone's features"
    shell:
        "drdc features --config {params.config:q} --threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"
