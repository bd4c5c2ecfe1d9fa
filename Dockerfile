# snnlab in a container: docs/docker.md says how it is built and used, tests/docker/check.py tries it.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
ENV PIP_CONSTRAINT=/build/constraints.txt PIP_BUILD_CONSTRAINT=/build/constraints.txt
WORKDIR /build
COPY constraints.txt ./
ARG TORCH_INDEX=""
ARG VARIANT=plain
# torch alone comes from TORCH_INDEX; the secret is a pip.conf of one's own, which no layer keeps
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python -m venv /opt/snnlab \
    && /opt/snnlab/bin/pip install --no-cache-dir --no-deps -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch \
    && /opt/snnlab/bin/pip install --no-cache-dir -c constraints.txt torch \
    && if [ "$VARIANT" = cuda ] && ! /opt/snnlab/bin/python -c "import sys, torch; sys.exit(not torch.version.cuda)"; \
       then echo "VARIANT=cuda: this torch is built for the CPU; give a TORCH_INDEX that holds builds for CUDA" >&2; exit 1; fi
COPY pyproject.toml README.md CITATION.cff LICENSE* NOTICE* ./
COPY conf conf
COPY src src
ARG EXTRAS=parallel,export,onnx,search,tensorboard,mlflow,report
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    /opt/snnlab/bin/pip install --no-cache-dir -c constraints.txt ".[$EXTRAS]"
COPY results results
RUN chmod -R a+rwX results

FROM ${BASE}
ARG VARIANT=plain
# cuda: Triton, which compiles the kernels for a GPU, wants a C compiler
# hadolint ignore=DL3008
RUN case "$VARIANT" in \
      plain) ;; \
      cuda) apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/* ;; \
      *) echo "VARIANT=$VARIANT: there is no such variant; plain or cuda" >&2; exit 1 ;; \
    esac \
    && useradd --create-home --uid 1000 snn \
    && install -d -m 1777 /home/snn /data /cache /work /work/outputs /work/results
COPY --from=build /opt/snnlab /opt/snnlab
COPY --from=build /build/results /work/results
COPY LICENSE* NOTICE* /usr/share/doc/snnlab/
# USER has a name whatever --user says; the cache folder is /cache/snnlab
ENV PATH=/opt/snnlab/bin:$PATH HOME=/home/snn USER=snn XDG_CACHE_HOME=/cache SNNLAB_DATA=/data PYTHONUNBUFFERED=1
WORKDIR /work
VOLUME ["/data", "/cache", "/work/outputs", "/work/results"]
USER 1000:1000
ENTRYPOINT ["snnlab"]
# snnlab's own source is Apache-2.0; tonic, which is in the image, is GPL-3.0-only, and so is the image as a whole
ARG BASE
ARG REVISION=unknown
LABEL org.opencontainers.image.title="snnlab" \
      org.opencontainers.image.description="Published training methods for spiking neural networks on one bench" \
      org.opencontainers.image.licenses="GPL-3.0-only" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.revision="${REVISION}"
