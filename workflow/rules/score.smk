rule score:
    input:
        manifest="results/{experiment}/manifest.csv",
        masks="results/{experiment}/masks.npy",
        predictions=expand(
            "results/{{experiment}}/seed{{seed}}/predictions/{category}.npy",
            category=CATEGORIES,
        ),
    output:
        scores="results/{experiment}/seed{seed}/scores.csv",
    log:
        "results/{experiment}/logs/score.seed{seed}.log",
    benchmark:
        "results/{experiment}/benchmarks/score.seed{seed}.tsv"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        config=settings("score"),
    message:
        "Fusing the maps and computing the metrics, seed {wildcards.seed}"
    shell:
        "drdc score --config {params.config:q} --seed {wildcards.seed} --threads {threads} > {log:q} 2>&1"
