import { createIdSource } from "@holdfast/runtime";
import { systemClock, systemRandom } from "@holdfast/runtime/system";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createTestDatabase } from "../../../../test/support/test-database.ts";
import { createHoldService } from "./hold-service.ts";

let test: Awaited<ReturnType<typeof createTestDatabase>>;
beforeAll(async () => {
  test = await createTestDatabase({ max: 8 });
});
afterAll(() => test.drop());

it("a job whose submit saw the stop and was written after its release is let go all the same", async () => {
  const { db } = test;
  const hold = createHoldService({
    db,
    ids: createIdSource(systemClock, systemRandom),
    ports: { onQueued: () => undefined, onRevoked: () => undefined, onEvents: () => undefined },
  });
  await db.query("insert into requirements (hash, needs) values ('h', '{}')");
  await db.query(
    "insert into graphs (hash, body, node_count, size_bytes) values ('g', '{}', 1, 1)",
  );
  await hold.holdAll("me");
  await hold.releaseAll();
  // As a slow submit leaves it that began during the stop.
  await db.query(
    `insert into jobs (id, owner, state, held, rank, requirement_id, graph_id, timeout_ms)
     select 'job_1', 'o', 'queued', true, 1, r.id, g.id, 1000 from requirements r, graphs g`,
  );
  await hold.keepHold();
  const { rows } = await db.query("select state, held from jobs");
  expect(rows).toEqual([{ state: "queued", held: false }]);
  expect(await hold.releaseAll()).toBe(0);
});
