# The main job in a container: docker build -t snnlab . && docker run --rm -v "$PWD/outputs:/home/snn/outputs" snnlab
FROM python:3.11-slim
RUN useradd --create-home --uid 1000 snn
WORKDIR /home/snn/snnlab
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY conf conf
COPY src src
RUN python -m pip install --no-cache-dir -c constraints.txt torch==2.13.0 \
    && python -m pip install --no-cache-dir -c constraints.txt .
USER snn
WORKDIR /home/snn
ENV SNNLAB_DATA=/home/snn/data SNNLAB_CACHE=/home/snn/.cache/snnlab
ENTRYPOINT ["snnlab"]
