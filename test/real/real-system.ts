/** A whole Holdfast in one process, attached to a real ComfyUI, on a database of its own. */
import { join } from "node:path";
import { createAgent } from "@holdfast/agent";
import { createControlPlane } from "@holdfast/control-plane";
import { readControlPlaneSettings } from "@holdfast/control-plane/process";
import type { JobView } from "@holdfast/contract";
import { NO_FAILPOINTS, type Service } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { SILENT_LOG } from "../../packages/control-plane/src/platform/log.ts";
import { api } from "../support/api.ts";
import { temporaryFolder, until } from "../support/processes.ts";
import { createTestDatabase, type TestDatabase } from "../support/test-database.ts";

/** A running system. */
export interface RealSystem {
  readonly client: ReturnType<typeof api>;
  readonly database: TestDatabase;
  /** Ends the agent, as an upgrade does, and starts another on the same folder. */
  restartAgent(): Promise<void>;
  /** Waits for a job's end. */
  ended(job: JobView, limitMs?: number): Promise<JobView>;
  close(): Promise<void>;
}

/**
 * Starts one with the limits that operators have, but for those in `env`, and waits until a job could
 * start.
 */
export async function startRealSystem(
  comfyUrl: string,
  env: Readonly<Record<string, string>> = {},
): Promise<RealSystem> {
  const database = await createTestDatabase();
  const folder = await temporaryFolder();
  const read = readControlPlaneSettings({
    platform: process.platform,
    userFolder: folder.path,
    env: {
      HOLDFAST_HOME: join(folder.path, "home"),
      HOLDFAST_PORT: "0",
      DATABASE_URL: database.url,
      ...env,
    },
  });
  if (read.kind === "invalid") throw new Error(JSON.stringify(read.problems));
  const controlPlane = createControlPlane({
    settings: read.settings,
    version: "test",
    clock: systemClock,
    random: systemRandom,
    failpoints: NO_FAILPOINTS,
    log: SILENT_LOG,
  });
  await controlPlane.start();
  const startAgent = async (): Promise<Service> => {
    const made = createAgent({
      link: controlPlane.link(),
      instances: [{ url: comfyUrl }],
      stateDir: join(folder.path, "agent"),
      machineName: "real-machine",
      clock: systemClock,
      random: systemRandom,
      log: SILENT_LOG,
    });
    await made.start();
    return made;
  };
  let agent = await startAgent();
  const client = api(controlPlane.url());
  const close = async (): Promise<void> => {
    await agent.stop();
    await controlPlane.stop();
    await database.drop();
    await folder.remove();
  };
  try {
    await until("the system is ready", () => client.isReady(), 60_000);
  } catch (error) {
    await close();
    throw error;
  }
  return {
    client,
    database,
    close,
    async restartAgent() {
      await agent.stop();
      agent = await startAgent();
    },
    ended: (job, limitMs = 120_000) =>
      until(
        `job ${job.number} ends`,
        async () => {
          const now = await client.job(job.id);
          return now.endedAt === null ? undefined : now;
        },
        limitMs,
      ),
  };
}
