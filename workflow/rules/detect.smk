# One file for `drdc detect`. It needs no test image; where there are some, it waits for their scores, to note them.


rule self_check:
    input:
        manifest="results/{experiment}/manifest.csv",
        groups="results/{experiment}/groups.csv",
        arrays=lambda w: seen_by(w.method),
        # From which the groups of images are told.
        features="results/{experiment}/features.npy",
        models=lambda w: [LAYOUT.model(SEEDS[0], name) for name in models_of(w.method)],
        predictions=lambda w: predicted(w.method, SEEDS[0]),
    output:
        found="results/{experiment}/self_check/{method}.csv",
        picture="results/{experiment}/self_check/{method}.png",
    log:
        "results/{experiment}/logs/self_check.{method}.log",
    benchmark:
        "results/{experiment}/benchmarks/self_check.{method}.tsv"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=240,
        gpu=1,
    params:
        config=lambda w: settings("self_check", w.method),
    message:
        "Trying {wildcards.method} on synthetic defects"
    shell:
        "drdc self-check {wildcards.method} --config {params.config:q} --threads {threads} "
        "--gpu {resources.gpu} > {log:q} 2>&1"


rule export:
    input:
        manifest="results/{experiment}/manifest.csv",
        groups="results/{experiment}/groups.csv",
        arrays=lambda w: seen_by(w.method),
        # From which the groups of images are told.
        features="results/{experiment}/features.npy",
        models=lambda w: [LAYOUT.model(SEEDS[0], name) for name in models_of(w.method)],
        predictions=lambda w: predicted(w.method, SEEDS[0]),
        scores=lambda w: scored_for_detector(w.method),
        self_check=lambda w: (
            [LAYOUT.self_check(w.method)] if EXPERIMENT.evaluation.self_check else []
        ),
    output:
        model="results/{experiment}/detectors/{method}.safetensors",
    log:
        "results/{experiment}/logs/export.{method}.log",
    benchmark:
        "results/{experiment}/benchmarks/export.{method}.tsv"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=240,
        gpu=1,
    params:
        config=lambda w: settings("export", w.method),
    message:
        "Calibrating the detector of {wildcards.method} and writing it to one file"
    shell:
        "drdc export {wildcards.method} --config {params.config:q} --threads {threads} "
        "--gpu {resources.gpu} > {log:q} 2>&1"


# The detector of the method that finds most in its self-check, and two lines that say so.
rule recommend:
    input:
        manifest="results/{experiment}/manifest.csv",
        groups="results/{experiment}/groups.csv",
        arrays=lambda w: of_compared(seen_by),
        features="results/{experiment}/features.npy",
        models=lambda w: [
            LAYOUT.model(SEEDS[0], name) for name in of_compared(models_of)
        ],
        predictions=lambda w: of_compared(lambda name: predicted(name, SEEDS[0])),
        scores=lambda w: of_compared(scored_for_detector),
        self_checks=[LAYOUT.self_check(name) for name in COMPARED],
    output:
        model="results/{experiment}/recommended.safetensors",
        words="results/{experiment}/recommended.txt",
    log:
        "results/{experiment}/logs/recommend.log",
    benchmark:
        "results/{experiment}/benchmarks/recommend.tsv"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=240,
        gpu=1,
    params:
        config=settings("recommend"),
    message:
        "Recommending one of the detectors, by their self-checks"
    shell:
        "drdc recommend --config {params.config:q} --threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"


# Trained and calibrated, also without any test image: `snakemake detector`.
rule detector:
    input:
        LAYOUT.detector(),
        [LAYOUT.recommended] if RECOMMENDED else [],
