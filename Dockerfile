# The main job in a container: docker build -t snnlab . && mkdir -p outputs &&
# docker run --rm --user "$(id -u):$(id -g)" -e HOME=/tmp -v "$PWD/outputs:/home/snn/outputs" snnlab
FROM python:3.11-slim
RUN useradd --create-home --uid 1000 snn && install -d -o snn -g snn /home/snn/outputs
WORKDIR /home/snn/snnlab
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY conf conf
COPY src src
RUN python -m pip install --no-cache-dir -c constraints.txt torch==2.13.0 hatchling \
    && python -m pip install --no-cache-dir --no-build-isolation -c constraints.txt .
USER 1000:1000
WORKDIR /home/snn
ENV SNNLAB_DATA=/home/snn/data
ENTRYPOINT ["snnlab"]
