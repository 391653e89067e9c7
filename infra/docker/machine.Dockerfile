# syntax=docker/dockerfile:1
# A GPU machine: ComfyUI and its custom nodes baked in, the agent that keeps and serves them.
#   docker build -f infra/docker/machine.Dockerfile -t holdfast/machine:0.1.0 .
# Another machine.yaml: `--build-arg MANIFEST=infra/docker/NAME.yaml`. How to run it: docs/containers.md.

FROM node:22.21.1-bookworm-slim AS build
WORKDIR /src
COPY . .
# See control-plane.Dockerfile.
RUN npm ci \
  && npm run build \
  && npm prune --omit=dev --omit=optional \
  && rm -rf packages/*/src packages/*/testing packages/*/tsconfig.tsbuildinfo

# CUDA 12.2 is what driver 535 brings. An image of a later one refuses to start on it (NVIDIA_REQUIRE_CUDA),
# and PyTorch brings the CUDA libraries that it was built with.
FROM nvidia/cuda:12.2.2-runtime-ubuntu22.04
# Without pins: Ubuntu takes old versions away, and a build of the same tag has to work next year.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates git libgl1 libglib2.0-0 python3 tini \
  && rm -rf /var/lib/apt/lists/*
# Node, and npm for PM2.
COPY --from=build /usr/local/bin/node /usr/local/bin/node
COPY --from=build /usr/local/lib/node_modules/npm /usr/local/lib/node_modules/npm
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
  && ln -s /opt/holdfast/packages/cli/bin/holdfast.js /usr/local/bin/holdfast \
  && groupadd --gid 10001 holdfast \
  && useradd --uid 10001 --gid holdfast --no-create-home --home-dir /var/lib/holdfast holdfast \
  && install -d -o holdfast -g holdfast -m 0700 /var/lib/holdfast \
  && install -d -o holdfast -g holdfast /opt/holdfast-machine /opt/comfyui/models
WORKDIR /opt/holdfast
COPY --from=build /src ./
ARG MANIFEST=infra/docker/machine.yaml
COPY ${MANIFEST} /etc/holdfast/machine.yaml
ENV NODE_ENV=production \
  HOME=/var/lib/holdfast \
  HOLDFAST_HOME=/var/lib/holdfast \
  HOLDFAST_MACHINE_DIR=/opt/holdfast-machine \
  HOLDFAST_MACHINE_MANIFEST=/etc/holdfast/machine.yaml \
  HOLDFAST_HEALTH_PORT=9090 \
  HOLDFAST_LOG_FORMAT=json
USER 10001:10001
# Everything that is fetched, in one layer with what is left of it: ComfyUI, Python, packages, custom nodes,
# uv, PM2. There is no card here: it is tried on the CPU. What the installer fetched with is not kept.
RUN node packages/cli/bin/holdfast.js machine install \
  && rm -rf /opt/holdfast-machine/cache /var/lib/holdfast/.npm /var/lib/holdfast/.cache
VOLUME /var/lib/holdfast
EXPOSE 8188 8189 9090
# `healthy` and `degraded` (some instance works) are well. The first start takes what ComfyUI takes to import its nodes.
HEALTHCHECK --interval=15s --timeout=8s --start-period=300s --retries=3 \
  CMD ["node", "/opt/holdfast/infra/docker/health.mjs", "machine"]
# The agent's instances are children of PM2, which leaves its own parent: somebody has to wait for what ends.
ENTRYPOINT ["tini", "--", "node", "/opt/holdfast/packages/cli/bin/holdfast.js"]
CMD ["agent"]
