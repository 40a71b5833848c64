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
    wildcard_constraints:
        table="|".join(TABLES),
    log:
        "results/{experiment}/logs/tables.{table}.log",
    benchmark:
        "results/{experiment}/benchmarks/tables.{table}.tsv"
    threads: 1
    resources:
        mem_mb=1000,
    params:
        config=settings("tables"),
    message:
        "Writing {wildcards.table}"
    shell:
        "drdc tables {wildcards.table} --config {params.config:q} > {log:q} 2>&1"
