# One file for `drdc detect`: it needs no test image. Where there are some, it waits for their scores to note them.


rule export:
    input:
        manifest="results/{experiment}/manifest.csv",
        images="results/{experiment}/images.npy",
        base=f"results/{{experiment}}/seed{SEEDS[0]}/base.safetensors",
        diffusion=f"results/{{experiment}}/seed{SEEDS[0]}/diffusion.safetensors",
        predictions=predicted(FULL, SEEDS[0]),
        scores=scored_for_detector(),
    output:
        model="results/{experiment}/model.safetensors",
    log:
        "results/{experiment}/logs/export.log",
    benchmark:
        "results/{experiment}/benchmarks/export.tsv"
    threads: 1
    resources:
        mem_mb=memory(4000),
        runtime=240,
        gpu=1,
    params:
        config=settings("export"),
    message:
        "Calibrating the detector and writing it to one file"
    shell:
        "drdc export --config {params.config:q} --threads {threads} --gpu {resources.gpu} > {log:q} 2>&1"


# Trained and calibrated, also without any test image: `snakemake detector`.
rule detector:
    input:
        f"{RESULTS}/model.safetensors",
