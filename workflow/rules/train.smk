# What an interrupted training resumes from lies in results/{experiment}/state/, which is no rule's output:
# Snakemake deletes a rule's outputs before it runs it.


rule train_base:
    input:
        manifest="results/{experiment}/manifest.csv",
        features="results/{experiment}/features.npy",
    output:
        model="results/{experiment}/seed{seed}/base.safetensors",
        losses="results/{experiment}/seed{seed}/base.losses.csv",
    log:
        "results/{experiment}/logs/train_base.seed{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/train_base.seed{seed}.tsv"
    threads: training_threads
    resources:
        mem_mb=memory(4000),
        runtime=1440,
        gpu=1,
    params:
        config=settings("train_base"),
    message:
        "Training the base model, seed {wildcards.seed}"
    shell:
        "drdc train base --config {params.config:q} --seed {wildcards.seed} "
        "--threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"


rule train_diffusion:
    input:
        manifest="results/{experiment}/manifest.csv",
        images="results/{experiment}/images.npy",
    output:
        model="results/{experiment}/seed{seed}/{model}.safetensors",
        losses="results/{experiment}/seed{seed}/{model}.losses.csv",
    log:
        "results/{experiment}/logs/train_{model}.seed{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/train_{model}.seed{seed}.tsv"
    # Longest first, so that the shorter trainings fill the gaps.
    priority: 1
    threads: training_threads
    resources:
        mem_mb=memory(8000),
        runtime=2880,
        gpu=1,
    params:
        config=settings("train_diffusion"),
    message:
        "Training the {wildcards.model} model, seed {wildcards.seed}"
    shell:
        "drdc train {wildcards.model} --config {params.config:q} --seed {wildcards.seed} "
        "--threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"
