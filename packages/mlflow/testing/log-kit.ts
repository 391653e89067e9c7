/** A log on a folder of its own against a stand-in of MLflow. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom } from "@holdfast/runtime";
import type { DeliveryEvent } from "../src/delivery/deliverer.ts";
import { openRunLog, type LogLimits, type LogOptions, type RunLog } from "../src/run-log.ts";
import { fastClock } from "./fast-clock.ts";
import type { FakeRun } from "./fake-mlflow-state.ts";
import { startFakeMlflow, type FakeMlflow } from "./fake-mlflow.ts";

/** What a test of the log needs. */
export interface LogKit {
  readonly fake: FakeMlflow;
  /** For files; the log's folder is in it. */
  readonly home: string;
  readonly folder: string;
  readonly events: DeliveryEvent[];
  options(limits?: Partial<LogLimits>): LogOptions;
  /** Opens it; what is open at the end is closed. */
  open(limits?: Partial<LogLimits>): Promise<RunLog>;
  /** The one run of a name; throws when there are none or several. */
  run(name: string): FakeRun;
  close(): Promise<void>;
}

/** How many times as fast as the real clock tests go: a backoff of 60 s takes 0.3. */
const FACTOR = 200;

/** Makes the kit. */
export async function logKit(seed = 1): Promise<LogKit> {
  const home = await mkdtemp(join(tmpdir(), "holdfast-mlflow-"));
  const folder = join(home, "mlflow");
  const fake = await startFakeMlflow();
  const events: DeliveryEvent[] = [];
  const opened: RunLog[] = [];
  const random = seededRandom(seed);
  const kit: LogKit = {
    fake,
    home,
    folder,
    events,
    options: (limits = {}) => ({
      folder,
      experiment: "castle",
      target: { baseUrl: fake.url, authorization: null },
      clock: fastClock(FACTOR),
      random,
      onEvent: (event) => void events.push(event),
      limits,
    }),
    async open(limits) {
      const result = await openRunLog(kit.options(limits));
      if (result.kind !== "open") throw new Error(`the log is not open: ${JSON.stringify(result)}`);
      opened.push(result.log);
      return result.log;
    },
    run(name) {
      const runs = fake.runsByName().get(name) ?? [];
      if (runs.length !== 1 || runs[0] === undefined) throw new Error(`${runs.length} of ${name}`);
      return runs[0];
    },
    async close() {
      for (const log of opened) await log.close();
      await fake.close();
      await rm(home, { recursive: true, force: true });
    },
  };
  return kit;
}

/** Long enough for any delivery of a test, on its fast clock. */
export const SOON = { timeoutMs: 20_000 * FACTOR };
