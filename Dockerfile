# One image for every role: mounting, the node's cache service, and the Kubernetes driver's parts (csi-node, which runs
# as root, mounter, keeper, controller; see csi/README.md).
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
    && groupadd --gid 65532 headrace && useradd --uid 65532 --gid 65532 --create-home headrace \
    && install -d -o headrace -g headrace /var/cache/headrace
COPY --from=build /opt/headrace /opt/headrace
ENV PATH=/opt/headrace/bin:$PATH \
    HEADRACE_CACHE_DIR=/var/cache/headrace \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# By number, so that Kubernetes can see that it is not root; the driver's manifests say the same one.
USER 65532:65532
WORKDIR /home/headrace
# tini reaps what a dead supervisor leaves behind, and passes signals on.
ENTRYPOINT ["tini", "--", "headrace"]
