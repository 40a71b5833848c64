rule predict:
    input:
        manifest="results/{experiment}/manifest.csv",
        images="results/{experiment}/images.npy",
        features="results/{experiment}/features.npy",
        base="results/{experiment}/seed{seed}/base.safetensors",
        diffusion="results/{experiment}/seed{seed}/diffusion.safetensors",
    output:
        predictions="results/{experiment}/seed{seed}/predictions/{category}.npy",
    log:
        "results/{experiment}/logs/predict.seed{seed}.{category}.log",
    benchmark:
        "results/{experiment}/benchmarks/predict.seed{seed}.{category}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        gpu=1,
    params:
        config=settings("predict"),
    message:
        "Predicting {wildcards.category}, seed {wildcards.seed}"
    shell:
        "drdc predict --config {params.config:q} --seed {wildcards.seed} --category {wildcards.category:q} "
        "--threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"
