import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createIdSource,
  NO_FAILPOINTS,
  seededRandom,
  startInOrder,
  stopInOrder,
} from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../../../test/support/test-database.ts";
import { createJobsKit } from "../testing/jobs-kit.ts";
import { registerGauges } from "./gauges.ts";
import { SILENT_LOG } from "./platform/log.ts";
import { createMetrics } from "./platform/metrics.ts";
import { readControlPlaneSettings } from "./platform/settings.ts";
import { createServices } from "./services.ts";

let database: TestDatabase;
let home: string;
beforeAll(async () => {
  database = await createTestDatabase();
  home = await mkdtemp(join(tmpdir(), "holdfast-removal-"));
});
afterAll(async () => {
  await database.drop();
  await rm(home, { recursive: true });
});
const { makeJobs, endedJobs } = createJobsKit(() => database.db);

test("a replica removes by its settings what is over, and its metrics say what", async () => {
  const { db } = database;
  const kept = await endedJobs(makeJobs(), 1, { hoursAgo: 3, state: "failed" });
  await endedJobs(makeJobs(), 2, { hoursAgo: 3 });
  await db.query(
    `with m as (
       insert into machines (id, name, boot_id, session, state, agent_version, last_heartbeat_at)
       values ('mch_1', 'm', 'b', 1, 'lost', '1', now() - interval '3 hours')
     ), f as (
       insert into blobs (sha256, size_bytes, stored_at) values ('in', 1, now() - interval '9 hours')
     ), n as (
       insert into files (id, owner, name, sha256, media_type, created_at)
       values ('fil_1', 'local', 'in.png', 'in', 'image/png', now() - interval '9 hours')
     )
     insert into graphs (hash, body, node_count, size_bytes) values ('unnamed', '{}', 1, 2)`,
  );
  await mkdir(join(home, "uploads"));
  await writeFile(join(home, "uploads", "left-by-a-kill"), "half");

  const parsed = readControlPlaneSettings({
    env: {
      HOLDFAST_HOME: home,
      HOLDFAST_JOB_RETENTION_HOURS: "2",
      HOLDFAST_FAILED_JOB_RETENTION_HOURS: "4",
      HOLDFAST_MACHINE_RETENTION_HOURS: "2",
      HOLDFAST_FILE_RETENTION_HOURS: "2",
    },
    platform: "linux",
    userFolder: home,
  });
  if (parsed.kind !== "ok") throw new Error("the settings are wrong");
  const random = seededRandom(1);
  const metrics = createMetrics();
  const services = await createServices({
    metrics,
    settings: parsed.settings,
    clock: systemClock,
    random,
    failpoints: NO_FAILPOINTS,
    log: SILENT_LOG,
    db,
    ids: createIdSource(systemClock, random),
    target: () => database.url,
  });
  try {
    expect(await readdir(join(home, "uploads"))).toEqual([]);
    registerGauges(metrics, db, services);
    const series = async (): Promise<string[]> =>
      (await metrics.text())
        .split("\n")
        .filter((line) => line.startsWith("holdfast_removed_rows_total{") && !line.endsWith(" 0"));
    expect(await series()).toEqual([]);
    await startInOrder(services.loops);
    const expected = [
      ["job", 2],
      ["attempt", 2],
      ["output", 2],
      ["graph", 1],
      ["machine", 1],
      ["file", 1],
    ].map(([kind, rows]) => `holdfast_removed_rows_total{kind="${kind}"} ${rows}`);
    await expect.poll(series, { timeout: 15_000 }).toEqual(expected);
    const { rows } = await db.query("select id from jobs");
    expect(rows).toEqual([{ id: kept[0] }]);
  } finally {
    await stopInOrder(services.loops);
    await services.close();
    metrics.stop();
  }
});
