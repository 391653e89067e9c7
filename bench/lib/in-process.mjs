/** Holdfast's own services in this process, on a scratch Postgres of its own with its usual durability. */
import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createDb, createEmbeddedPostgres } from "@holdfast/control-plane";
import { readControlPlaneSettings } from "@holdfast/control-plane/process";
import { createIdSource, startInOrder, stopInOrder } from "@holdfast/runtime";
import { failpointsFromText, systemClock, systemRandom } from "@holdfast/runtime/system";
import {
  migrate,
  migrationsFolder,
} from "../../packages/control-plane/dist/platform/migrations.js";
import { createServices } from "../../packages/control-plane/dist/services.js";

// The driver that the control plane uses, and so the same protocol and the same prepared statements.
export const pg = createRequire(
  new URL("../../packages/control-plane/package.json", import.meta.url),
)("pg");

const SILENT = {
  debug: () => undefined,
  info: () => undefined,
  // Machines of a bench come and go as they like.
  warn: () => undefined,
  error: (fields, message) => process.stderr.write(`${message} ${fields.err?.stack ?? ""}\n`),
  child: () => SILENT,
};
const CLOCK = { clock: systemClock, random: systemRandom };
/** Who submits when no key exists. */
export const CALLER = { id: "local", role: "admin", allowedClasses: null };
export const INVENTORY = {
  digest: "b".repeat(64),
  nodeClasses: ["EmptyImage", "SaveImage", "HoldfastSleep"],
  models: {},
  comfyuiVersion: "0.3.64",
  vramTotalBytes: 24e9,
  deviceName: "bench",
  simulated: true,
};

/** Starts a Postgres in this folder; `stop` ends it. */
export async function startPostgres(folder) {
  const postgres = createEmbeddedPostgres({
    ...CLOCK,
    dir: join(folder, "pg"),
    log: SILENT,
    // Several sides are connected at once; a server of ours has one.
    settings: { max_connections: "200" },
  });
  await postgres.start();
  const where = postgres.connection();
  return {
    pid: postgres.pid(),
    stop: () => postgres.stop(),
    /** A new empty database: its connection, and the same as a URL. */
    async createDatabase(name) {
      const client = new pg.Client(where);
      await client.connect();
      await client.query(`create database ${name}`);
      await client.end();
      const { user, password, host, port } = where;
      const url = `postgres://${user}:${encodeURIComponent(password)}@${host}:${port}/${name}`;
      return { url, connection: { ...where, database: name } };
    },
  };
}

/** All services of a replica on an empty database, its loops running. */
export async function openServices(folder, url) {
  const db = createDb({ ...CLOCK, target: url, applicationName: "holdfast-bench", log: SILENT });
  await migrate(db, { folder: migrationsFolder(), log: SILENT });
  const parsed = readControlPlaneSettings({
    env: { HOLDFAST_HOME: join(folder, "home") },
    platform: process.platform,
    userFolder: folder,
    flags: {},
  });
  if (parsed.kind !== "ok") throw new Error("the settings of the bench are wrong");
  const ids = createIdSource(systemClock, systemRandom);
  const services = await createServices({
    ...CLOCK,
    settings: parsed.settings,
    failpoints: failpointsFromText(undefined),
    log: SILENT,
    db,
    ids,
    target: () => url,
  });
  await startInOrder(services.loops);
  return {
    ...services,
    db,
    ids,
    async stop() {
      await stopInOrder(services.loops);
      await services.close();
      await db.close();
    },
  };
}

/** Registers a machine with so many healthy instances; gives what its polls are made of. */
export async function registerMachine(link, instances, name = "bench") {
  const registered = await link.register({
    protocolVersion: 1,
    agentVersion: "0.1.0",
    machineId: null,
    machineName: name,
    bootId: randomBytes(8).toString("hex"),
    instances: Array.from({ length: instances }, (_, at) => ({
      key: `http://127.0.0.1:${at}/${name}`,
      name: `${name}-${at}`,
      foundPrompts: [],
    })),
  });
  const { machineId, session } = registered;
  let sequence = 0;
  return {
    session: { machineId, session },
    poll({ wants, held = [], waitMs = 0 }) {
      sequence += 1;
      const reports = registered.instances.map(({ instanceId }) => ({
        instanceId,
        state: "healthy",
        reason: null,
        inventoryDigest: INVENTORY.digest,
        wants,
        vramFreeBytes: null,
      }));
      return { machineId, session, sequence, instances: reports, held, waitMs };
    },
  };
}

/** The outcome of a lease as its agent would report it: one picture, stored before. */
export function successOf(lease, sha256) {
  return {
    attemptId: lease.attemptId,
    jobId: lease.jobId,
    leaseEpoch: lease.leaseEpoch,
    started: true,
    timings: { prepareMs: 1, queueMs: 1, executeMs: 5, collectMs: 1 },
    outcome: {
      kind: "succeeded",
      outputs: [
        {
          nodeId: "3",
          ordinal: 0,
          kind: "image",
          name: "bench_00001_.png",
          mediaType: "image/png",
          sizeBytes: 400,
          sha256,
          temporary: false,
          text: null,
        },
      ],
    },
  };
}
