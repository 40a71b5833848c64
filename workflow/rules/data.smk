# The only two rules that need a network. They run next to Snakemake itself (`localrules`), so that no node needs one.


rule download:
    output:
        download="results/{experiment}/download.json",
    log:
        "results/{experiment}/logs/download.log",
    benchmark:
        "results/{experiment}/benchmarks/download.tsv"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=720,
    params:
        config=settings("download"),
    message:
        "Downloading the dataset of {wildcards.experiment}"
    shell:
        "drdc download --config {params.config:q} --only-dataset > {log:q} 2>&1"


rule weights:
    output:
        weights="results/{experiment}/weights/{network}.json",
    log:
        "results/{experiment}/logs/weights.{network}.log",
    benchmark:
        "results/{experiment}/benchmarks/weights.{network}.tsv"
    # Before any training, as `features`, which waits for it.
    priority: 100
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=240,
    params:
        config=lambda w: settings("weights", w.network),
        # Not for the command: a local file of weights that is replaced is another network.
        files=lambda w: weights_files(w.network),
    message:
        "Fetching the pre-trained weights of {wildcards.network}"
    shell:
        "drdc weights {wildcards.network} --config {params.config:q} > {log:q} 2>&1"


rule prepare:
    input:
        download="results/{experiment}/download.json" if DOWNLOADED else [],
    output:
        manifest="results/{experiment}/manifest.csv",
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
        "Listing and checking the dataset of {wildcards.experiment}"
    shell:
        "drdc prepare --config {params.config:q} --threads {threads} > {log:q} 2>&1"


rule images:
    input:
        manifest="results/{experiment}/manifest.csv",
    output:
        images="results/{experiment}/images/{size}.npy",
    log:
        "results/{experiment}/logs/images.{size}.log",
    benchmark:
        "results/{experiment}/benchmarks/images.{size}.tsv"
    # As `features`, which waits for it.
    priority: 100
    threads: all_cores
    resources:
        mem_mb=memory(2000),
        runtime=240,
    params:
        config=settings("images"),
    message:
        "Resizing all images to {wildcards.size} x {wildcards.size} pixels"
    shell:
        "drdc images {wildcards.size} --config {params.config:q} --threads {threads} > {log:q} 2>&1"


rule features:
    input:
        manifest="results/{experiment}/manifest.csv",
        images=f"results/{{experiment}}/images/{EXPERIMENT.backbone.input_size}.npy",
        weights=f"results/{{experiment}}/weights/{BACKBONE}.json",
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


rule groups:
    input:
        manifest="results/{experiment}/manifest.csv",
        features="results/{experiment}/features.npy",
    output:
        groups="results/{experiment}/groups.csv",
    log:
        "results/{experiment}/logs/groups.log",
    benchmark:
        "results/{experiment}/benchmarks/groups.tsv"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=120,
    params:
        config=settings("groups"),
    message:
        "Finding the category that each image is most like"
    shell:
        "drdc groups --config {params.config:q} --threads {threads} > {log:q} 2>&1"
