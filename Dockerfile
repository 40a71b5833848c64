# The package with everything that its commands and the workflow need, as it is pinned in constraints.txt:
#   docker build --tag drdc:0.2.0 .
#   docker run --rm --gpus all --shm-size 8g --user "$(id -u):$(id -g)" --env HOME=/project --volume "$PWD:/project" \
#     drdc:0.2.0 snakemake --snakefile /opt/drdc/Snakefile --cores all
# Pushed to a registry, it serves the jobs of Snakemake: docs/install.md.
FROM python:3.11-slim-bookworm

# torch compiles the networks for a GPU with it, see `compile` in config/README.md.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/drdc

# What the package is built from, and nothing else of the repository.
COPY pyproject.toml setup.py MANIFEST.in constraints.txt README.md LICENSE NOTICE.md Snakefile ./
COPY config config
COPY profiles profiles
COPY workflow workflow
COPY drdc drdc
RUN pip install --no-cache-dir --constraint constraints.txt uv \
 && uv pip install --system --no-cache --compile-bytecode --constraint constraints.txt '.[baselines,cluster,elpv,onnx,serve]'

# The current folder is that of the results.
WORKDIR /project
CMD ["drdc", "--help"]
