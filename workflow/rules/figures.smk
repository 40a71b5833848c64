rule figures:
    input:
        lambda w: ingredients(FIGURES[w.figure].of),
    output:
        report(
            "results/{experiment}/figures/{figure}.png",
            caption="../report/caption.rst",
            category=lambda w: FIGURES[w.figure].section,
            labels=lambda w: {"result": FIGURES[w.figure].title},
        ),
        "results/{experiment}/figures/{figure}.pdf",
    log:
        "results/{experiment}/logs/figures.{figure}.log",
    benchmark:
        "results/{experiment}/benchmarks/figures.{figure}.tsv"
    wildcard_constraints:
        figure="|".join(name for name, one in FIGURES.items() if not one.further),
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=60,
    params:
        config=settings("figures"),
        caption=lambda w: FIGURES[w.figure].text,
    message:
        "Drawing {wildcards.figure}"
    shell:
        "drdc figures {wildcards.figure} --config {params.config:q} > {log:q} 2>&1"


# Figures that leave several pictures: `fig3_and_categories`.
for one in FIGURES.values():
    if one.further:

        rule:
            name:
                f"{one.name}_and_categories"
            input:
                ingredients(one.of),
            output:
                [
                    report(
                        f"results/{{experiment}}/figures/{picture}.png",
                        caption="../report/caption.rst",
                        category=one.section,
                        labels={"result": title},
                    )
                    for picture, title in one.pictures(CATEGORIES).items()
                ],
                [
                    f"results/{{experiment}}/figures/{picture}.pdf"
                    for picture in one.pictures(CATEGORIES)
                ],
            log:
                f"results/{{experiment}}/logs/figures.{one.name}.log",
            benchmark:
                f"results/{{experiment}}/benchmarks/figures.{one.name}.tsv"
            threads: 1
            resources:
                mem_mb=memory(2000),
                runtime=60,
            params:
                config=settings("figures"),
                figure=one.name,
                caption=lambda w, text=one.text: text,
            message:
                "Drawing {params.figure}"
            shell:
                "drdc figures {params.figure} --config {params.config:q} --threads {threads} > {log:q} 2>&1"


rule gallery:
    input:
        ingredients("heatmaps"),
    output:
        gallery="results/{experiment}/gallery.html",
    log:
        "results/{experiment}/logs/gallery.log",
    benchmark:
        "results/{experiment}/benchmarks/gallery.tsv"
    threads: 2
    resources:
        mem_mb=memory(4000),
        runtime=60,
    params:
        config=settings("gallery"),
    message:
        "Writing the page to browse the heatmaps"
    shell:
        "drdc gallery --config {params.config:q} --threads {threads} > {log:q} 2>&1"
