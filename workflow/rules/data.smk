rule prepare:
    output:
        manifest="results/{experiment}/manifest.csv",
        images="results/{experiment}/images.npy",
        masks="results/{experiment}/masks.npy",
    params:
        config=settings("prepare"),
    log:
        "results/{experiment}/logs/prepare.log",
    benchmark:
        "results/{experiment}/benchmarks/prepare.tsv"
    message:
        "Listing and decoding the dataset of {wildcards.experiment}"
    threads: 1
    resources:
        mem_mb=2000,
    shell:
        "drdc prepare --config {params.config:q} --threads {threads} > {log:q} 2>&1"


rule features:
    input:
        manifest="results/{experiment}/manifest.csv",
    output:
        features="results/{experiment}/features.npy",
    params:
        config=settings("features"),
    log:
        "results/{experiment}/logs/features.log",
    benchmark:
        "results/{experiment}/benchmarks/features.tsv"
    message:
        "Computing the backbone's features"
    threads: workflow.cores
    resources:
        mem_mb=4000,
        gpu=1,
    shell:
        "drdc features --config {params.config:q} --threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"
