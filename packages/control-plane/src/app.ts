/**
 * The composition root: the only place that makes the pool, the logger's children and the loops, and
 * fills the ports that features declare.
 */
import type { ControlPlaneLink } from "@holdfast/contract";
import {
  createIdSource,
  startInOrder,
  stopInOrder,
  type Clock,
  type Failpoints,
  type Random,
  type Service,
} from "@holdfast/runtime";
import { join } from "node:path";
import { registerGauges } from "./gauges.ts";
import type { FleetPlan } from "./fleet/fleet-settings.ts";
import { createServices, type Services } from "./services.ts";
import { createDirectLink } from "./direct-link.ts";
import { buildServer } from "./server.ts";
import { readSecret } from "./platform/config.ts";
import { createDb, type Db, type PgTarget } from "./platform/db.ts";
import type { HttpServer } from "./platform/http/server.ts";
import type { Log } from "./platform/log.ts";
import { createMetrics, type Metrics } from "./platform/metrics.ts";
import { migrate, migrationsFolder } from "./platform/migrations.ts";
import { repairAfterRestore } from "./platform/outbox.ts";
import {
  createEmbeddedPostgres,
  type EmbeddedPostgres,
} from "./platform/postgres/embedded-postgres.ts";
import type { ControlPlaneSettings } from "./platform/settings.ts";

/** What a control plane is made of. */
export interface ControlPlaneOptions {
  readonly settings: ControlPlaneSettings;
  readonly version: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly failpoints: Failpoints;
  readonly log: Log;
  /** The pools of machines that it may start and end. */
  readonly fleet?: FleetPlan | undefined;
}

/** One replica of the control plane: database, API, scheduler. */
export interface ControlPlane extends Service {
  /** Where it listens, once started: `http://127.0.0.1:8328`. */
  url(): string;
  port(): number;
  /** The control plane for an agent of the same process; usable once started. */
  link(): ControlPlaneLink;
  /** The embedded Postgres, when there is one. */
  readonly postgres: EmbeddedPostgres | undefined;
  /** The pool, once started: for tests and the commands that work on the database. */
  db(): Db;
}

/** Makes a control plane; nothing happens before `start`. */
export function createControlPlane(options: ControlPlaneOptions): ControlPlane {
  const { settings, clock, random, log } = options;
  const postgres =
    settings.databaseUrl === undefined
      ? createEmbeddedPostgres({ dir: join(settings.home, "postgres"), clock, random, log })
      : undefined;
  const { databaseUrl } = settings;
  const target: PgTarget = () =>
    databaseUrl === undefined ? postgresConnection(postgres) : readSecret(databaseUrl);
  let running: Running | undefined;
  const current = (): Running => {
    if (running === undefined) throw new Error("the control plane has not been started");
    return running;
  };
  return {
    name: "control-plane",
    postgres,
    url: () => current().url,
    port: () => current().port,
    link: () => current().link,
    db: () => current().db,
    async start() {
      if (postgres !== undefined) await postgres.start();
      try {
        running = await startAll(options, target, postgres);
      } catch (error) {
        await postgres?.stop();
        throw error;
      }
    },
    async stop() {
      const was = running;
      running = undefined;
      if (was !== undefined) await stopAll(was);
      await postgres?.stop();
    },
  };
}

interface Running {
  readonly db: Db;
  readonly services: Services;
  readonly server: HttpServer;
  readonly metrics: Metrics;
  readonly link: ControlPlaneLink;
  readonly port: number;
  readonly url: string;
}

function postgresConnection(postgres: EmbeddedPostgres | undefined) {
  if (postgres === undefined) throw new Error("there is no embedded Postgres");
  return postgres.connection();
}

async function startAll(
  options: ControlPlaneOptions,
  target: PgTarget,
  postgres: EmbeddedPostgres | undefined,
): Promise<Running> {
  const { settings, clock, random, log } = options;
  const pool = { target, clock, random, log, applicationName: "holdfast" };
  const db = createDb({ ...pool, onConnectionLost: () => postgres?.check() });
  const metrics = createMetrics();
  try {
    await migrate(db, { folder: migrationsFolder(), log });
    if (await db.transaction(repairAfterRestore)) {
      log.warn({}, "events came from another cluster, put into the present");
    }
    const ids = createIdSource(clock, random);
    let url = `http://${urlHost(settings.host)}:${settings.port}`;
    const services = await createServices({
      ...options,
      db,
      ids,
      target,
      metrics,
      listensAt: () => url,
    });
    registerGauges(metrics, db, services);
    const server = await buildServer({ ...options, db, ids, services, metrics });
    await startInOrder(services.loops);
    try {
      const port = await server.listen({ host: settings.host, port: settings.port });
      url = `http://${urlHost(settings.host)}:${port}`;
      return {
        db,
        services,
        server,
        metrics,
        link: createDirectLink(services),
        port,
        url,
      };
    } catch (error) {
      await stopInOrder(services.loops);
      throw error;
    }
  } catch (error) {
    metrics.stop();
    await db.close();
    throw error;
  }
}

/** The name to call a bind address by: a wildcard is reached on loopback. */
function urlHost(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "127.0.0.1";
  return host.includes(":") ? `[${host}]` : host;
}

async function stopAll(running: Running): Promise<void> {
  await running.server.close();
  await stopInOrder(running.services.loops);
  await running.services.close();
  running.metrics.stop();
  await running.db.close();
}
