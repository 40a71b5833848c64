rule tables:
    input:
        lambda w: ingredients(TABLES[w.table].of),
    output:
        multiext("results/{experiment}/tables/{table}", ".csv", ".md", ".tex"),
        report(
            "results/{experiment}/tables/{table}.html",
            caption="../report/caption.rst",
            category=lambda w: TABLES[w.table].section,
            labels=lambda w: {"result": TABLES[w.table].title},
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
        caption=lambda w: TABLES[w.table].text,
    message:
        "Writing {wildcards.table}"
    shell:
        "drdc tables {wildcards.table} --config {params.config:q} > {log:q} 2>&1"
