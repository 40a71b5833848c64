rule score:
    input:
        manifest="results/{experiment}/manifest.csv",
        masks="results/{experiment}/masks.npy",
        predictions=lambda w: predicted(FULL, w.seed),
    output:
        scores="results/{experiment}/seed{seed}/scores.csv",
        image_scores="results/{experiment}/seed{seed}/image_scores.csv",
        curves="results/{experiment}/seed{seed}/curves.csv",
        defects="results/{experiment}/seed{seed}/defects.csv",
    log:
        "results/{experiment}/logs/score.seed{seed}.full.log",
    benchmark:
        "results/{experiment}/benchmarks/score.seed{seed}.full.tsv"
    # A category is evaluated by one thread.
    threads: 4
    resources:
        mem_mb=memory(4000),
        runtime=120,
    params:
        config=settings("score"),
    message:
        "Fusing the maps and computing the metrics, seed {wildcards.seed}"
    shell:
        "drdc score --config {params.config:q} --seed {wildcards.seed} --threads {threads} > {log:q} 2>&1"


rule score_variant:
    input:
        manifest="results/{experiment}/manifest.csv",
        masks="results/{experiment}/masks.npy",
        predictions=lambda w: predicted(w.variant, w.seed),
    output:
        scores="results/{experiment}/seed{seed}/variants/{variant}.csv",
    log:
        "results/{experiment}/logs/score.seed{seed}.{variant}.log",
    benchmark:
        "results/{experiment}/benchmarks/score.seed{seed}.{variant}.tsv"
    threads: 4
    resources:
        mem_mb=memory(2000),
        runtime=120,
    params:
        config=lambda w: settings("score", w.variant),
    message:
        "Computing the metrics of {wildcards.variant}, seed {wildcards.seed}"
    shell:
        "drdc score --config {params.config:q} --seed {wildcards.seed} --threads {threads} > {log:q} 2>&1"


rule collect:
    input:
        scores=scored(),
        methods=scored_methods(),
        evidence=expand(
            "results/{{experiment}}/seed{seed}/{kind}.csv",
            seed=SEEDS,
            kind=EVIDENCE,
        ),
    output:
        scores="results/{experiment}/scores.csv",
        image_scores="results/{experiment}/image_scores.csv",
        curves="results/{experiment}/curves.csv",
        defects="results/{experiment}/defects.csv",
    log:
        "results/{experiment}/logs/collect.log",
    benchmark:
        "results/{experiment}/benchmarks/collect.tsv"
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=60,
    params:
        config=settings("collect"),
    message:
        "Putting the scores of all seeds and variants together"
    shell:
        "drdc collect --config {params.config:q} > {log:q} 2>&1"
