# One image for every party of a federation: `psreval server`, `psreval node`, `psreval split`, `psreval certificates`.
#
#   docker build -t psreval .
#   docker build -t psreval --build-arg PIP_EXTRA_INDEX_URL=… .    # an index of CPU wheels of torch: gigabytes less
#
# The first stage installs the dependencies and removes what does not run; the second holds the rest and our code.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS dependencies
# Known in this stage only, and nothing of it is kept: an index's address may hold a password.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
WORKDIR /app
COPY pyproject.toml ./
COPY deploy/requirements.py deploy/slim.sh deploy/
RUN python deploy/requirements.py > /tmp/requirements.txt \
 && /opt/venv/bin/python -m pip install --no-compile --requirement /tmp/requirements.txt \
 && sh deploy/slim.sh /opt/venv

FROM ${BASE}
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 \
    HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib PSREVAL_CACHE=/tmp/psreval PSREVAL_RUNS=/runs FLWR_HOME=/tmp/flower \
    FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1 FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1
COPY --from=dependencies /opt/venv /opt/venv
COPY . /app
# Our packages run from /app as from a checkout. Whatever is mounted at /runs, /state or below /party takes its owner
# and mode from here when the volume is new: anybody's, since --user may be anybody.
RUN cp /app/deploy/psreval /usr/local/bin/psreval \
 && python /app/deploy/compile.py \
 && rm -rf /tmp/* \
 && mkdir -m 1777 /runs /state /party
ENV PYTHONDONTWRITEBYTECODE=1
# A number and not a name: an orchestrator sees that it is not root.
USER 1000:1000
WORKDIR /tmp
ENTRYPOINT ["psreval"]
CMD ["--help"]
