# The image of the CronJobs and of the watcher: Python, this package and bd. At most 70 MB above its base (`make image`).
#
#   docker build -t beads-dispatch .
#   docker build -t beads-dispatch --build-arg BD_IMAGE=<image> .
#   buildah build --layers -t beads-dispatch --build-arg BD_IMAGE=bd-from-source .   (before 1.29 it needs to be told)
#   docker buildx build --platform linux/amd64,linux/arm64 -t <registry>/beads-dispatch --push .
#
# For another platform bd is cross-compiled on the machine that builds. The Python stages run on the image's own platform,
# so they need QEMU (binfmt) there.
# (buildah 1.28 does not set BUILDPLATFORM: add --build-arg BUILDPLATFORM=linux/amd64.)
#
# WHICH bd: the one that your other clients use (your laptops, the agent's image), 1.0.2 to 1.3. One of another version
# may refuse to write (docs/upgrading.md). Without BD_IMAGE the bd that tools/bd/go.mod pins is built;
# BD_IMAGE=<image> takes /usr/local/bin/bd out of that image instead. It must run without a C library of its own kind
# (a static binary always does) and needs server mode only.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm
ARG GO_IMAGE=docker.io/library/golang:1.26.5-bookworm
ARG BD_IMAGE=bd-from-source

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS bd-from-source
ARG TARGETOS
ARG TARGETARCH
WORKDIR /src
COPY tools/bd/go.mod tools/bd/go.sum ./
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -buildvcs=false -tags gms_pure_go -trimpath -ldflags "-s -w" \
    -o /usr/local/bin/bd github.com/steveyegge/beads/cmd/bd

FROM ${BD_IMAGE} AS bd

FROM ${PYTHON_IMAGE} AS package
WORKDIR /src
COPY requirements-build.txt requirements-image.txt ./
# The second environment is the one that is shipped: without pip, with bytecode, without Apprise's translations (2 MB), and
# without PyYAML's C library (2.7 MB), which Apprise does not use.
RUN python3 -m venv /build \
    && /build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.txt \
    && python3 -m venv --without-pip /opt/beads-dispatch \
    && /build/bin/pip --python /opt/beads-dispatch/bin/python install --no-cache-dir --require-hashes -r requirements-image.txt \
    && rm -r /opt/beads-dispatch/lib/python3*/site-packages/apprise/i18n/*/LC_MESSAGES \
        /opt/beads-dispatch/lib/python3*/site-packages/yaml/_yaml.*.so
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /build/bin/pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir /wheel . \
    && /build/bin/pip --python /opt/beads-dispatch/bin/python install --no-cache-dir --no-deps /wheel/*.whl

FROM ${PYTHON_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="beads-dispatch" \
      org.opencontainers.image.description="Hand a bead to an AI agent by assigning it" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=bd /usr/local/bin/bd /usr/local/bin/bd
COPY --from=package /opt/beads-dispatch /opt/beads-dispatch
ENV PATH=/opt/beads-dispatch/bin:$PATH HOME=/tmp
# python:slim has the standard library without bytecode, and a read-only root cannot cache it: compiled at each start,
# it costs an idle tick 0.25 s of CPU instead of 0.08 s. So whatever we import is imported once here.
RUN python3 -c "import pkgutil, beads_dispatch as ours; \
    [__import__(module.name) for module in pkgutil.walk_packages(ours.__path__, 'beads_dispatch.')]"
USER 65532:65532
ENTRYPOINT ["beads-dispatch"]
CMD ["--help"]
