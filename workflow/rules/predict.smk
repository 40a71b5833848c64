# Predictions are shared by all cells of Table 5 and Figure 2 with the same model and sampling
# (drdc/config/variants.py). Those of the same models and images are kept, as in train.smk.


rule predict:
    input:
        manifest="results/{experiment}/manifest.csv",
        arrays=lambda w: seen_by(w.predictions),
        models=lambda w: [
            LAYOUT.model(w.seed, name) for name in models_of(w.predictions)
        ],
    output:
        predictions=update(
            "results/{experiment}/seed{seed}/predictions/{predictions}/{part}.npy"
        ),
    log:
        "results/{experiment}/logs/predict.seed{seed}.{predictions}.{part}.log",
    benchmark:
        "results/{experiment}/benchmarks/predict.seed{seed}.{predictions}.{part}.tsv"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=720,
        gpu=1,
    params:
        config=lambda w: settings("predict", w.predictions),
    message:
        "Predicting {wildcards.part} by {wildcards.predictions}, seed {wildcards.seed}"
    shell:
        "drdc predict {wildcards.predictions:q} --config {params.config:q} --seed {wildcards.seed} "
        "--category {wildcards.part:q} --threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"


rule costs:
    input:
        manifest="results/{experiment}/manifest.csv",
        arrays=[array for name in METHODS for array in seen_by(name)],
        models=[
            LAYOUT.model(SEEDS[0], name) for one in METHODS for name in models_of(one)
        ],
    output:
        costs="results/{experiment}/costs.csv",
    log:
        "results/{experiment}/logs/costs.log",
    benchmark:
        "results/{experiment}/benchmarks/costs.tsv"
    # All cores: nothing else may run while time is measured.
    threads: all_cores
    resources:
        mem_mb=memory(4000),
        runtime=240,
        gpu=1,
    params:
        config=settings("costs"),
    message:
        "Measuring time, memory and size of all methods"
    shell:
        "drdc costs --config {params.config:q} --threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"
