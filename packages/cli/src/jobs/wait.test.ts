import type { JobView } from "@holdfast/contract";
import { createFakeClock } from "@holdfast/runtime/testing";
import { describe, expect, it } from "vitest";
import type { ApiAnswer, ApiClient } from "../api/api-client.ts";
import { EXIT } from "../exit-codes.ts";
import { waitForJobs, type WaitListener } from "./wait.ts";

const job = (id: string, status: JobView["status"]): JobView =>
  ({ id, status, endedAt: status === "completed" ? "2025-01-01T00:00:00.000Z" : null }) as JobView;
const answered = (body: unknown): ApiAnswer => ({
  kind: "answered",
  response: new Response(JSON.stringify(body)),
});
const gone: ApiAnswer = { kind: "unreachable", reason: "gone", mayHaveArrived: false };
const refused = (status: number): ApiAnswer => ({
  kind: "refused",
  status,
  code: undefined,
  message: "no",
  details: undefined,
  requestId: undefined,
  retryAfterSeconds: undefined,
});

/** A server whose answers for a job are given by how often it was asked; it streams no events. */
function server(answer: (id: string, nth: number) => ApiAnswer): ApiClient {
  const asked = new Map<string, number>();
  return {
    baseUrl: "http://x",
    request: async (path) => {
      if (path.endsWith("/events")) return refused(404);
      const id = path.split("/").at(-1) ?? "";
      const nth = (asked.get(id) ?? 0) + 1;
      asked.set(id, nth);
      return answer(id, nth);
    },
    json: () => Promise.reject(new Error("not asked for here")),
  };
}

function watching(api: ApiClient, jobs: readonly JobView[]) {
  const clock = createFakeClock();
  const stop = new AbortController();
  const told: string[] = [];
  const listener: WaitListener = {
    changed: (now) => told.push(now.map(({ status }) => status).join(",")),
    connection: (state) => told.push(state),
  };
  const outcome = waitForJobs(api, jobs, { clock, signal: stop.signal, listener }).then(
    (ended) => ({ ended }),
    (error: unknown) => ({ error }),
  );
  const finish = async () => {
    const over = new AbortController();
    void outcome.then(() => over.abort());
    for (let i = 0; i < 5000 && !over.signal.aborted; i += 1) await clock.advanceToNext();
    return await outcome;
  };
  return { clock, stop, told, finish };
}

describe("waiting for jobs", () => {
  it("ends when every one of them has ended, in the order given", async () => {
    const api = server((id, nth) =>
      answered(job(id, nth >= (id === "a" ? 3 : 2) ? "completed" : "processing")),
    );
    const watch = watching(api, [job("a", "queued"), job("b", "queued")]);
    const result = await watch.finish();
    expect(result).toMatchObject({ ended: [{ id: "a" }, { id: "b", status: "completed" }] });
    expect(watch.told).toEqual([
      "queued,queued",
      "processing,processing",
      "processing,completed",
      "completed,completed",
    ]);
  });

  it("lives through a server that goes away and comes back, and says so once", async () => {
    const api = server((id, nth) =>
      nth < 20 ? gone : nth < 22 ? refused(503) : answered(job(id, "completed")),
    );
    const watch = watching(api, [job("a", "queued")]);
    expect(await watch.finish()).toMatchObject({ ended: [{ status: "completed" }] });
    expect(watch.told.filter((text) => text === "lost" || text === "back")).toEqual([
      "lost",
      "back",
    ]);
  });

  it("gives up a server that stays away, but not soon", async () => {
    const watch = watching(
      server(() => gone),
      [job("a", "queued")],
    );
    expect(await watch.finish()).toMatchObject({ error: { exitCode: EXIT.unavailable } });
    expect(watch.clock.elapsed()).toBeGreaterThan(9 * 60_000);
  });

  it("ends at once when the server refuses", async () => {
    const watch = watching(
      server(() => refused(404)),
      [job("a", "queued")],
    );
    expect(await watch.finish()).toMatchObject({ error: { exitCode: EXIT.refused } });
  });

  it("stops when it is told to, with nothing left running", async () => {
    const api = server((id) => answered(job(id, "processing")));
    const watch = watching(api, [job("a", "queued")]);
    await watch.clock.advance(5_000);
    watch.stop.abort(new Error("enough"));
    expect(await watch.finish()).toMatchObject({ error: { message: "enough" } });
    expect(watch.clock.sleeperCount()).toBe(0);
  });
});
