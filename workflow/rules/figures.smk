rule figures:
    input:
        manifest="results/{experiment}/manifest.csv",
        images="results/{experiment}/images.npy",
        masks="results/{experiment}/masks.npy",
        predictions=expand(
            "results/{{experiment}}/seed{seed}/predictions/{category}.npy",
            seed=SEEDS[0],
            category=CATEGORIES,
        ),
        losses=expand(
            "results/{{experiment}}/seed{seed}/{model}.losses.csv",
            seed=SEEDS,
            model=["base", "diffusion"],
        ),
    output:
        fig3=report(
            "results/{experiment}/figures/fig3.png",
            caption="../report/fig3.rst",
            category="Figures",
            labels={"figure": "Figure 3"},
        ),
        overview=report(
            "results/{experiment}/figures/overview.png",
            caption="../report/overview.rst",
            category="Figures",
            labels={"figure": "overview"},
        ),
        losses=report(
            "results/{experiment}/figures/losses.png",
            caption="../report/losses.rst",
            category="Figures",
            labels={"figure": "loss curves"},
        ),
    log:
        "results/{experiment}/logs/figures.log",
    benchmark:
        "results/{experiment}/benchmarks/figures.tsv"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        config=settings("figures"),
    message:
        "Drawing the figures"
    shell:
        "drdc figures --config {params.config:q} --threads {threads} > {log:q} 2>&1"
