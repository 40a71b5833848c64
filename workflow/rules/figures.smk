rule figures:
    input:
        lambda w: ingredients(FIGURES[w.figure]),
    output:
        report(
            "results/{experiment}/figures/{figure}.png",
            caption="../report/figures.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
    log:
        "results/{experiment}/logs/figures.{figure}.log",
    benchmark:
        "results/{experiment}/benchmarks/figures.{figure}.tsv"
    wildcard_constraints:
        figure="|".join(name for name in FIGURES if name != "fig3"),
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        config=settings("figures"),
    message:
        "Drawing {wildcards.figure}"
    shell:
        "drdc figures {wildcards.figure} --config {params.config:q} > {log:q} 2>&1"


rule fig3_and_categories:
    input:
        ingredients("predictions"),
    output:
        report(
            "results/{experiment}/figures/fig3.png",
            caption="../report/figures.rst",
            category="Figures",
            labels={"figure": "fig3"},
        ),
        report(
            "results/{experiment}/figures/overview.png",
            caption="../report/figures.rst",
            category="Figures",
            labels={"figure": "overview"},
        ),
        *[
            report(
                f"results/{{experiment}}/figures/fig3-{category}.png",
                caption="../report/figures.rst",
                category="Figures",
                labels={"figure": f"fig3, {category}"},
            )
            for category in CATEGORIES
        ],
    log:
        "results/{experiment}/logs/figures.fig3.log",
    benchmark:
        "results/{experiment}/benchmarks/figures.fig3.tsv"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        config=settings("figures"),
    message:
        "Drawing fig3"
    shell:
        "drdc figures fig3 --config {params.config:q} --threads {threads} > {log:q} 2>&1"


rule gallery:
    input:
        ingredients("heatmaps"),
    output:
        gallery="results/{experiment}/gallery.html",
    log:
        "results/{experiment}/logs/gallery.log",
    benchmark:
        "results/{experiment}/benchmarks/gallery.tsv"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        config=settings("gallery"),
    message:
        "Writing the page to browse the heatmaps"
    shell:
        "drdc gallery --config {params.config:q} --threads {threads} > {log:q} 2>&1"
