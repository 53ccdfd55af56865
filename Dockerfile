# For GPU hosts. UNBUILT: this file was written on a machine without Docker and without a GPU, and nobody has built it yet; whoever does, please
# say so in an issue. Data, weights, cache and runs are mounted, never copied:
#   docker build -t ser-bench .
#   docker run --gpus all -v /data:/data -v /weights:/weights -v /cache:/cache -v /runs:/runs ser-bench run quick --out /runs/quick
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ git && rm -rf /var/lib/apt/lists/*
WORKDIR /ser-bench
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY bench bench
COPY adapters adapters
COPY reports reports
COPY tasks tasks
RUN python -m pip install --no-cache-dir --constraint constraints.txt .
RUN useradd --create-home bench && install -d -o bench /cache /runs
USER bench
ENV SERBENCH_DATA=/data SERBENCH_WEIGHTS=/weights SERBENCH_CACHE=/cache
WORKDIR /home/bench
ENTRYPOINT ["serbench"]
