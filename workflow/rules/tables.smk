rule tables:
    input:
        lambda w: ingredients(TABLES[w.table]),
    output:
        multiext("results/{experiment}/tables/{table}", ".csv", ".md", ".tex"),
        report(
            "results/{experiment}/tables/{table}.html",
            caption="../report/tables.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    log:
        "results/{experiment}/logs/tables.{table}.log",
    benchmark:
        "results/{experiment}/benchmarks/tables.{table}.tsv"
    wildcard_constraints:
        table="|".join(TABLES),
    threads: 1
    resources:
        mem_mb=memory(1000),
        runtime=60,
    params:
        config=settings("tables"),
    message:
        "Writing {wildcards.table}"
    shell:
        "drdc tables {wildcards.table} --config {params.config:q} > {log:q} 2>&1"
