rule score:
    input:
        manifest="results/{experiment}/manifest.csv",
        masks="results/{experiment}/masks.npy",
        groups="results/{experiment}/groups.csv",
        predictions=lambda w: predicted(w.run, w.seed),
    output:
        expand(
            "results/{{experiment}}/seed{{seed}}/scores/{{run}}/{kind}.csv",
            kind=SCORED,
        ),
    log:
        "results/{experiment}/logs/score.seed{seed}.{run}.log",
    benchmark:
        "results/{experiment}/benchmarks/score.seed{seed}.{run}.tsv"
    # A category is evaluated by one thread.
    threads: scoring_threads
    resources:
        mem_mb=memory(4000),
        runtime=120,
    params:
        config=lambda w: settings("score", w.run),
    message:
        "Computing the metrics of {wildcards.run}, seed {wildcards.seed}"
    shell:
        "drdc score {wildcards.run:q} --config {params.config:q} --seed {wildcards.seed} "
        "--threads {threads} > {log:q} 2>&1"


rule collect:
    input:
        scored(VARIANTS, SCORED),
    output:
        expand("results/{{experiment}}/{kind}.csv", kind=SCORED),
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
        "Collecting the scores of all seeds, variants and methods"
    shell:
        "drdc collect --config {params.config:q} > {log:q} 2>&1"
