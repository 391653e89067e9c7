/**
 * How fast a machine answers for its health: `GET /health` and `GET /services` with twelve services whose
 * facts change all the time, at a steady pace. Client and server share this process. Beside it a bare
 * `node:http` server that sends the same bytes: what the machine and the client cost without us.
 *
 * Flags: --seconds N for each route and side (default 10), --rate N requests a second (default 50), --quick.
 */
import { createServer } from "node:http";
import { createHealthServer } from "../packages/machine/dist/health-server/health-server.js";
import { createServiceRegistry } from "../packages/machine/dist/services/service-registry.js";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { createCaller } from "./lib/json-http.mjs";
import { now, pause, printTable, round, summary } from "./lib/measure.mjs";
import { readOptions } from "./lib/options.mjs";
import { announce, machineFacts, saveResult } from "./lib/result.mjs";

const SERVICES = 12;
const ROUTES = ["/health", "/services"];
const GOAL_P99_MS = 10;
/** Answers before the first that counts: connections opened, code compiled. */
const WARM_UP = 50;
const MS_PER_SECOND = 1_000;

const options = readOptions({ seconds: (quick) => (quick ? 2 : 10), rate: 50 });
const machine = await machineFacts();
announce("health-server", machine);

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const registry = createServiceRegistry({ clock: systemClock, log: silent });
registry.replace(Array.from({ length: SERVICES }, (_, index) => toSource(index)));
const server = createHealthServer({
  address: { host: "127.0.0.1", port: 0, tokenFile: undefined },
  version: "bench",
  machineName: "bench",
  clock: systemClock,
  random: systemRandom,
  log: silent,
});
await registry.start();
await server.start();
server.attach({ services: registry });
const { url } = server.listening();

const results = [];
for (const route of ROUTES) {
  const text = await (await fetch(url + route)).text();
  const bare = await startBare(text);
  const sides = { bare: await measure(bare.url, route), holdfast: await measure(url, route) };
  await bare.stop();
  results.push({ route, sizeBytes: Buffer.byteLength(text), ...sides });
}
await server.stop();
await registry.stop();

printTable(
  `answers at ${options.rate} requests a second, ${SERVICES} services, ms`,
  results.map(({ route, sizeBytes, bare, holdfast }) => ({
    route,
    bytes: sizeBytes,
    "bare p50": bare.p50,
    "bare p99": bare.p99,
    p50: holdfast.p50,
    p99: holdfast.p99,
    "goal p99": GOAL_P99_MS,
  })),
);
await saveResult("health-server", machine, {
  services: SERVICES,
  ratePerSecond: options.rate,
  seconds: options.seconds,
  goalP99Ms: GOAL_P99_MS,
  ratioToGoal: round(Math.max(...results.map(({ holdfast }) => holdfast.p99)) / GOAL_P99_MS),
  results,
});

/** Requests at their pace, whether those before were answered or not. */
async function measure(base, route) {
  const caller = createCaller(base);
  for (let index = 0; index < WARM_UP; index += 1) await caller.bytes(route);
  const everyMs = MS_PER_SECOND / options.rate;
  const begun = now();
  const count = options.rate * options.seconds;
  const samples = [];
  const asked = Array.from({ length: count }, async (_, index) => {
    await pause(Math.max(0, begun + index * everyMs - now()));
    const at = now();
    await caller.bytes(route);
    samples.push(now() - at);
  });
  await Promise.all(asked);
  await caller.close();
  return summary(samples);
}

/** A service that looks different at every look, as a busy one does. */
function toSource(index) {
  let looks = 0;
  return {
    name: `service-${String(index)}`,
    kind: index < SERVICES - 2 ? "instance" : "process",
    dependsOn: index === 0 ? [] : [`service-${String(index - 1)}`],
    facts() {
      looks += 1;
      const isWell = looks % (index + 5) !== 0;
      return {
        isConfigured: true,
        installation: { state: "installed", detail: null, version: "r-0123456789" },
        runtime: { state: "running", pid: 1000 + index, startedAt: 0, restarts: 0, detail: null },
        check: {
          state: isWell ? "passing" : "failing",
          detail: isWell ? "HTTP 200" : `timed out after 5 s (look ${String(looks)})`,
          checkedAt: looks,
        },
      };
    },
    details: () => ({ port: 8188 + index, gpu: index, looks }),
    logFiles: () => [],
  };
}

async function startBare(text) {
  const bare = createServer((_request, response) => {
    response.setHeader("content-type", "application/json; charset=utf-8");
    response.end(text);
  });
  await new Promise((resolve) => {
    bare.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${String(bare.address().port)}`,
    async stop() {
      bare.closeAllConnections();
      await new Promise((resolve) => {
        bare.close(resolve);
      });
    },
  };
}
