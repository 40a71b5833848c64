rule tables:
    input:
        scores=expand("results/{{experiment}}/seed{seed}/scores.csv", seed=SEEDS),
    output:
        scores="results/{experiment}/scores.csv",
        summary=multiext("results/{experiment}/tables/summary", ".csv", ".md", ".tex"),
        tables=[
            report(
                f"results/{{experiment}}/tables/{table}.{kind}",
                caption=f"../report/{table}.rst",
                category="Tables",
                labels={"table": table, "format": kind},
            )
            for table in TABLES
            for kind in ("csv", "md", "tex")
        ],
    log:
        "results/{experiment}/logs/tables.log",
    benchmark:
        "results/{experiment}/benchmarks/tables.tsv"
    threads: 1
    resources:
        mem_mb=1000,
    params:
        config=settings("tables"),
    message:
        "Writing the tables"
    shell:
        "drdc tables --config {params.config:q} --threads {threads} > {log:q} 2>&1"
