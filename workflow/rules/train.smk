# An interrupted training resumes from results/{experiment}/state/, which is not an output: Snakemake deletes the
# outputs of a rule before it runs it. It keeps those that are marked with `update`: where only test images are new,
# `drdc train` finds that the model is finished already.


rule train:
    input:
        manifest="results/{experiment}/manifest.csv",
        arrays=lambda w: trained_on(w.model),
        weights=lambda w: fetched_for(w.model),
    output:
        model=update("results/{experiment}/seed{seed}/{model}.safetensors"),
        losses=update("results/{experiment}/seed{seed}/{model}.losses.csv"),
    log:
        "results/{experiment}/logs/train.seed{seed}.{model}.log",
    benchmark:
        "results/{experiment}/benchmarks/train.seed{seed}.{model}.tsv"
    priority: training_priority
    threads: training_threads
    resources:
        mem_mb=memory(8000),
        runtime=lambda w: jobs.time_limit(EXPERIMENT, w.model),
        gpu=1,
    params:
        config=lambda w: settings("train", w.model),
    message:
        "Training {wildcards.model}, seed {wildcards.seed}"
    shell:
        "drdc train {wildcards.model} --config {params.config:q} --seed {wildcards.seed} "
        "--threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"
