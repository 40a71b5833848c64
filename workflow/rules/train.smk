# What an interrupted training resumes from lies in results/{experiment}/state/, which is no rule's output:
# Snakemake deletes a rule's outputs before it runs it.


rule train_base:
    input:
        manifest="results/{experiment}/manifest.csv",
        features="results/{experiment}/features.npy",
    output:
        model="results/{experiment}/seed{seed}/base.safetensors",
        losses="results/{experiment}/seed{seed}/base.losses.csv",
    params:
        config=settings("train_base"),
    log:
        "results/{experiment}/logs/train_base.seed{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/train_base.seed{seed}.tsv"
    message:
        "Training the base model, seed {wildcards.seed}"
    threads: training_threads
    resources:
        mem_mb=4000,
        gpu=1,
    shell:
        "drdc train base --config {params.config:q} --seed {wildcards.seed} "
        "--threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"


rule train_diffusion:
    input:
        manifest="results/{experiment}/manifest.csv",
        images="results/{experiment}/images.npy",
    output:
        model="results/{experiment}/seed{seed}/diffusion.safetensors",
        losses="results/{experiment}/seed{seed}/diffusion.losses.csv",
    params:
        config=settings("train_diffusion"),
    log:
        "results/{experiment}/logs/train_diffusion.seed{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/train_diffusion.seed{seed}.tsv"
    message:
        "Training the diffusion model, seed {wildcards.seed}"
    threads: training_threads
    # Longest first, so that the shorter trainings fill the gaps.
    priority: 1
    resources:
        mem_mb=8000,
        gpu=1,
    shell:
        "drdc train diffusion --config {params.config:q} --seed {wildcards.seed} "
        "--threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"
