import { seededRandom, startInOrder, stopInOrder } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { afterAll, beforeAll, expect, it } from "vitest";
import { until } from "../../../../test/support/processes.ts";
import { createTestDatabase, type TestDatabase } from "../../../../test/support/test-database.ts";
import { SILENT_LOG } from "../platform/log.ts";
import { createFleetLoops } from "./loop.ts";
import type { RoundSummary } from "./reconcile-service.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase({ max: 4 });
});
afterAll(() => database?.drop());

it("a replica that leads makes rounds, and nobody has to look on", async () => {
  const epochs: number[] = [];
  const loops = createFleetLoops({
    db: database.db,
    clock: systemClock,
    random: seededRandom(1),
    log: SILENT_LOG,
    holder: "rpl_1",
    reconciler: {
      async round({ epoch }) {
        epochs.push(epoch);
        return {} as RoundSummary;
      },
      reset: () => undefined,
    },
  });
  await startInOrder(loops);
  try {
    await until("a round was made", async () => epochs.length > 0, 5_000);
  } finally {
    await stopInOrder(loops);
  }
  expect(epochs[0]).toBe(1);
});
