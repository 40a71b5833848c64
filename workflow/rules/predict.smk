# Predictions are shared by all cells of Table 5 and Figure 2 with the same model and sampling (drdc/config/variants.py).


rule predict:
    input:
        manifest="results/{experiment}/manifest.csv",
        images="results/{experiment}/images.npy",
        features="results/{experiment}/features.npy",
        base="results/{experiment}/seed{seed}/base.safetensors",
        diffusion=lambda w: f"results/{w.experiment}/seed{w.seed}/{VARIANTS[w.predictions].model}.safetensors",
    output:
        predictions="results/{experiment}/seed{seed}/predictions/{predictions}/{part}.npy",
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
        "Predicting {wildcards.part}, variant {wildcards.predictions}, seed {wildcards.seed}"
    shell:
        "drdc predict --config {params.config:q} --seed {wildcards.seed} --category {wildcards.part:q} "
        "--threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"


rule costs:
    input:
        manifest="results/{experiment}/manifest.csv",
        images="results/{experiment}/images.npy",
        models=expand(
            "results/{{experiment}}/seed{seed}/{model}.safetensors",
            seed=SEEDS[0],
            model=["base", "diffusion"],
        ),
        methods=[
            LAYOUT.model(SEEDS[0], f"methods/{name}") for name in EXPERIMENT.methods
        ],
    output:
        costs="results/{experiment}/costs.csv",
    log:
        "results/{experiment}/logs/costs.log",
    benchmark:
        "results/{experiment}/benchmarks/costs.tsv"
    # All cores: nothing else may run beside it while time is measured.
    threads: all_cores
    resources:
        mem_mb=memory(4000),
        runtime=240,
        gpu=1,
    params:
        config=settings("costs"),
    message:
        "Measuring time, memory and size of base model, DRDC and compared methods"
    shell:
        "drdc costs --config {params.config:q} --threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"
