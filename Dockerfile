# One image for every role: mounting, the node's cache service, the node's CSI driver.
#
#   docker build -t headrace .
#   docker run --rm headrace --help
#   docker run --rm --device /dev/fuse --cap-add SYS_ADMIN --user root headrace mount --foreground SOURCE /mnt

FROM debian:bookworm-slim AS build
WORKDIR /src
COPY .ci/setup .ci/setup
COPY pyproject.toml README.md LICENSE ./
COPY cachesvc cachesvc
COPY vfs vfs
COPY csi csi
RUN .ci/setup build /opt/headrace

FROM debian:bookworm-slim
COPY .ci/setup /opt/.ci/setup
RUN /opt/.ci/setup run && rm -rf /opt/.ci /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home headrace \
    && install -d -o headrace -g headrace /var/cache/headrace
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH \
    HEADRACE_CACHE_DIR=/var/cache/headrace \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /home/headrace
# tini reaps what a dead supervisor leaves behind, and passes signals on.
ENTRYPOINT ["tini", "--", "headrace"]
