# The systems that DRDC is compared with, each a name below `systems` in the configuration (drdc/methods/).


rule train_system:
    input:
        manifest="results/{experiment}/manifest.csv",
        images="results/{experiment}/images.npy",
        features="results/{experiment}/features.npy",
    output:
        model="results/{experiment}/seed{seed}/systems/{system}.safetensors",
        losses="results/{experiment}/seed{seed}/systems/{system}.losses.csv",
    log:
        "results/{experiment}/logs/train_system.seed{seed}.{system}.log",
    benchmark:
        "results/{experiment}/benchmarks/train_system.seed{seed}.{system}.tsv"
    threads: training_threads
    resources:
        mem_mb=memory(8000),
        runtime=fitting_minutes,
        gpu=1,
    params:
        config=lambda w: settings("train_system", system=w.system),
    message:
        "Fitting {wildcards.system}, seed {wildcards.seed}"
    shell:
        "drdc train-system {wildcards.system} --config {params.config:q} --seed {wildcards.seed} "
        "--threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"


rule predict_system:
    input:
        manifest="results/{experiment}/manifest.csv",
        images="results/{experiment}/images.npy",
        features="results/{experiment}/features.npy",
        model="results/{experiment}/seed{seed}/systems/{system}.safetensors",
    output:
        predictions="results/{experiment}/seed{seed}/systems/{system}.npy",
    log:
        "results/{experiment}/logs/predict_system.seed{seed}.{system}.log",
    benchmark:
        "results/{experiment}/benchmarks/predict_system.seed{seed}.{system}.tsv"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=720,
        gpu=1,
    params:
        config=lambda w: settings("predict_system", system=w.system),
    message:
        "Computing the heatmaps of {wildcards.system}, seed {wildcards.seed}"
    shell:
        "drdc predict-system {wildcards.system} --config {params.config:q} --seed {wildcards.seed} "
        "--threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"


rule score_system:
    input:
        manifest="results/{experiment}/manifest.csv",
        masks="results/{experiment}/masks.npy",
        predictions="results/{experiment}/seed{seed}/systems/{system}.npy",
    output:
        scores="results/{experiment}/seed{seed}/systems/{system}.csv",
    log:
        "results/{experiment}/logs/score_system.seed{seed}.{system}.log",
    benchmark:
        "results/{experiment}/benchmarks/score_system.seed{seed}.{system}.tsv"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=120,
    params:
        config=lambda w: settings("score_system", system=w.system),
    message:
        "Computing the metrics of {wildcards.system}, seed {wildcards.seed}"
    shell:
        "drdc score-system {wildcards.system} --config {params.config:q} --seed {wildcards.seed} "
        "--threads {threads} > {log:q} 2>&1"


# One file for `drdc detect`, as of DRDC itself; made when it is asked for.
rule export_system:
    input:
        manifest="results/{experiment}/manifest.csv",
        model=f"results/{{experiment}}/seed{SEEDS[0]}/systems/{{system}}.safetensors",
        predictions=f"results/{{experiment}}/seed{SEEDS[0]}/systems/{{system}}.npy",
        scores=(
            f"results/{{experiment}}/seed{SEEDS[0]}/systems/{{system}}.csv"
            if TESTED
            else []
        ),
    output:
        model="results/{experiment}/systems/{system}.safetensors",
    log:
        "results/{experiment}/logs/export_system.{system}.log",
    benchmark:
        "results/{experiment}/benchmarks/export_system.{system}.tsv"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=240,
        gpu=1,
    params:
        config=lambda w: settings("export_system", system=w.system),
    message:
        "Calibrating a detector of {wildcards.system} and writing it to one file"
    shell:
        "drdc export-system {wildcards.system} --config {params.config:q} --threads {threads} "
        "--gpu {resources.gpu} > {log:q} 2>&1"
