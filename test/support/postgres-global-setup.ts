import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import type { TestProject } from "vitest/node";
import { createDb } from "../../packages/control-plane/src/platform/db.ts";
import { SILENT_LOG } from "../../packages/control-plane/src/platform/log.ts";
import {
  migrate,
  migrationsFolder,
  readMigrations,
} from "../../packages/control-plane/src/platform/migrations.ts";
import {
  createEmbeddedPostgres,
  type EmbeddedPostgres,
} from "../../packages/control-plane/src/platform/postgres/embedded-postgres.ts";
import { isSameProcess, processStartTime } from "../../packages/runtime/src/host/processes.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** The server that test databases are made on, by way of its `postgres` database. */
    holdfastPostgresUrl: string;
    /** The migrated database to copy; empty when the migrations could not be applied. */
    holdfastTemplate: string;
    /** Why there is no template; empty when there is one. */
    holdfastTemplateProblem: string;
  }
}

const FOLDER_PREFIX = "holdfast-test-postgres-";

/** Test databases are thrown away: nothing need survive a crash of the machine. */
const FAST_SETTINGS = {
  fsync: "off",
  synchronous_commit: "off",
  full_page_writes: "off",
  max_connections: "200",
};

/** One Postgres and one migrated template for a whole test run; returns what ends it. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const given = process.env["HOLDFAST_TEST_DATABASE_URL"];
  const server =
    given === undefined || given === ""
      ? await startServer()
      : { url: given, stop: () => Promise.resolve() };
  try {
    const template = await makeTemplate(server.url);
    project.provide("holdfastPostgresUrl", server.url);
    project.provide("holdfastTemplate", template.name);
    project.provide("holdfastTemplateProblem", template.problem);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server.stop;
}

async function startServer(): Promise<{ url: string; stop: () => Promise<void> }> {
  await sweepAbandoned();
  const dir = await mkdtemp(join(tmpdir(), FOLDER_PREFIX));
  const startTime = await processStartTime(process.pid);
  await writeFile(join(dir, "runner.json"), JSON.stringify({ pid: process.pid, startTime }));
  const postgres = embedded(join(dir, "postgres"));
  await postgres.start();
  const { user, password, host, port } = postgres.connection();
  return {
    url: `postgres://${user}:${password}@${host}:${port}/postgres`,
    async stop() {
      await postgres.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

function embedded(dir: string, over: { join?: boolean } = {}): EmbeddedPostgres {
  return createEmbeddedPostgres({
    ...over,
    dir,
    clock: systemClock,
    random: systemRandom,
    log: SILENT_LOG,
    settings: FAST_SETTINGS,
  });
}

/** Ends what runs that were killed left behind. */
async function sweepAbandoned(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    if (!name.startsWith(FOLDER_PREFIX)) continue;
    const dir = join(tmpdir(), name);
    const text = await readFile(join(dir, "runner.json"), "utf8").catch(() => undefined);
    if (text === undefined) continue;
    const runner = JSON.parse(text) as { pid: number; startTime?: string };
    if (await isSameProcess(runner.pid, runner.startTime)) continue;
    await endServer(join(dir, "postgres"));
    await rm(dir, { recursive: true, force: true });
  }
}

/** Ends the server on a folder, if one runs there. */
async function endServer(dir: string): Promise<void> {
  const guest = embedded(dir, { join: true });
  const isRunning = await guest.start().then(
    () => true,
    () => false,
  );
  await guest.stop();
  if (!isRunning) return;
  const left = embedded(dir); // Takes it over, to end it in order.
  await left.start().catch(() => undefined);
  await left.stop().catch(() => undefined);
}

interface Template {
  readonly name: string;
  readonly problem: string;
}

/** The template's name carries a hash of the migrations: edited ones make a new template. */
async function makeTemplate(url: string): Promise<Template> {
  const folder = migrationsFolder();
  await mkdir(folder, { recursive: true });
  const options = {
    applicationName: "holdfast-test-setup",
    clock: systemClock,
    random: systemRandom,
    log: SILENT_LOG,
    max: 1,
  };
  const admin = createDb({ ...options, target: url });
  try {
    const files = await readMigrations(folder);
    const hash = createHash("sha256")
      .update(files.map((file) => file.checksum).join())
      .digest("hex");
    const name = `holdfast_template_${hash.slice(0, 16)}`;
    await admin.query(`drop database if exists ${name} with (force)`);
    await admin.query(`create database ${name}`);
    const db = createDb({ ...options, target: databaseUrl(url, name) });
    try {
      await migrate(db, { folder, log: SILENT_LOG });
    } finally {
      await db.close();
    }
    return { name, problem: "" };
  } catch (error) {
    return { name: "", problem: error instanceof Error ? error.message : String(error) };
  } finally {
    await admin.close();
  }
}

/** The same server, another database. */
export function databaseUrl(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
}
