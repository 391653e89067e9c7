# syntax=docker/dockerfile:1
# The control plane: `docker build -f infra/docker/control-plane.Dockerfile -t holdfast/control-plane:0.1.0 .`
# It wants a Postgres (DATABASE_URL): the embedded one is not in it. Every setting: docs/configuration.md.

FROM node:22.21.1-bookworm-slim AS build
WORKDIR /src
COPY . .
# Optional packages are needed to build (the compiler is one) and not to run (the other is the embedded Postgres).
RUN npm ci \
  && npm run build \
  && npm prune --omit=dev --omit=optional \
  && rm -rf packages/*/src packages/*/testing packages/*/tsconfig.tsbuildinfo

FROM node:22.21.1-bookworm-slim
RUN groupadd --gid 10001 holdfast \
  && useradd --uid 10001 --gid holdfast --no-create-home --home-dir /var/lib/holdfast holdfast \
  && install -d -o holdfast -g holdfast -m 0700 /var/lib/holdfast \
  && ln -s /opt/holdfast/packages/cli/bin/holdfast.js /usr/local/bin/holdfast
WORKDIR /opt/holdfast
COPY --from=build /src ./
ENV NODE_ENV=production \
  HOLDFAST_HOME=/var/lib/holdfast \
  HOLDFAST_HOST=0.0.0.0 \
  HOLDFAST_PORT=8328 \
  HOLDFAST_LOG_FORMAT=json
USER 10001:10001
VOLUME /var/lib/holdfast
EXPOSE 8328
# Goes by the database alone: without an instance or a store, agents and operators must reach it all the same.
HEALTHCHECK --interval=10s --timeout=8s --start-period=60s --retries=3 \
  CMD ["node", "infra/docker/health.mjs", "control-plane"]
# As the first process: it listens to SIGTERM itself, and starts no child that it would not wait for.
ENTRYPOINT ["node", "packages/cli/bin/holdfast.js"]
CMD ["server"]
