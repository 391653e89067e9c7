import { measuredProfileSchema, putProfilesSchema } from "@holdfast/contract";
import { fedProfiles, profileWorkflow, type FedProfile, type ProfiledRun } from "@holdfast/load";
import { createFakeClock } from "@holdfast/runtime/testing";
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ApiAnswer, ApiRequest } from "../api/api-client.ts";
import { checkFeed, feedProfiles } from "./feed-profiles.ts";

const GRAPH = { "1": { class_type: "EmptyImage", inputs: { width: 64 } } };
const row = (more: Partial<FedProfile> = {}): FedProfile => ({
  graph: GRAPH,
  gpuName: "cpu",
  coldMs: 5_000,
  warmMs: 1_000,
  loadMs: 4_000,
  vramPeakBytes: null,
  longestSilenceMs: 900,
  runs: 2,
  measuredAt: "2026-11-28T12:00:00.000Z",
  ...more,
});
const refused = (status: number, message: string): ApiAnswer => ({
  kind: "refused",
  status,
  code: undefined,
  message,
  details: undefined,
  requestId: undefined,
  retryAfterSeconds: undefined,
});
const GONE: ApiAnswer = {
  kind: "unreachable",
  reason: "nothing listens there",
  mayHaveArrived: false,
};
const fine = (): ApiAnswer => ({ kind: "answered", response: Response.json({ stored: 1 }) });

/** A Holdfast that answers so; what it is asked is kept. */
function holdfast(answer: (call: number) => ApiAnswer = fine) {
  const clock = createFakeClock();
  const calls: (readonly [string, ApiRequest])[] = [];
  const api = {
    baseUrl: "http://me:secret@holdfast:8328",
    request(path: string, request: ApiRequest = {}) {
      calls.push([path, request]);
      return Promise.resolve(answer(calls.length));
    },
  };
  return { calls, to: { api, clock } };
}

describe("before anything is measured", () => {
  it("a Holdfast that takes profiles is asked nothing more", async () => {
    const { calls, to } = holdfast();
    await checkFeed(to);
    expect(calls.map(([path]) => path)).toEqual(["/api/v1/profiles?limit=1"]);
  });

  it.each([
    [GONE, 3, "cannot reach http://holdfast:8328"],
    [refused(404, "no route"), 2, "takes no profiles"],
    [refused(401, "unauthenticated"), 2, "HOLDFAST_API_KEY"],
    [refused(503, "starting"), 3, "starting"],
  ])("one that does not is told: %o", async (answer, exitCode, words) => {
    await expect(checkFeed(holdfast(() => answer).to)).rejects.toMatchObject({
      exitCode,
      message: expect.stringMatching(/^--feed: [^]*Nothing was sent\.$/) as string,
    });
    await expect(checkFeed(holdfast(() => answer).to)).rejects.toThrow(words);
    await expect(checkFeed(holdfast(() => answer).to)).rejects.not.toThrow("secret");
  });

  it("one that never answers is not waited for", async () => {
    const clock = createFakeClock();
    const silent = (_path: string, request?: ApiRequest): Promise<never> =>
      new Promise((_, reject) => {
        request?.signal?.addEventListener("abort", () => reject(new Error("aborted")));
      });
    const api = { baseUrl: "http://holdfast:8328", request: silent };
    const ended = checkFeed({ clock, api }).catch((error: unknown) => error);
    await clock.advanceToNext();
    expect(await ended).toMatchObject({
      exitCode: 3,
      message: expect.stringContaining("no answer within 30 s") as string,
    });
  });
});

describe("what was measured", () => {
  it("is told in requests that the server takes, whatever their number", async () => {
    const { calls, to } = holdfast();
    const rows = Array.from({ length: 250 }, (_, at) => row({ warmMs: at }));
    expect(await feedProfiles(to, rows)).toEqual({
      isDone: true,
      words: "told http://holdfast:8328 of 250 profiles",
    });
    const told = calls.flatMap(([path, { method, json }]) => {
      expect([path, method]).toEqual(["/api/v1/profiles", "PUT"]);
      return putProfilesSchema.parse(json).profiles;
    });
    expect(calls).toHaveLength(3);
    expect(told).toEqual(rows);
  });

  it("that could not be told is counted", async () => {
    const rows = Array.from({ length: 150 }, () => row());
    const { to } = holdfast((call) => (call === 1 ? fine() : GONE));
    expect(await feedProfiles(to, rows)).toEqual({
      isDone: false,
      words:
        "50 of 150 profiles were not told: cannot reach http://holdfast:8328: nothing listens there",
    });
  });

  it("is nothing where no workflow has a warm time, and nothing is sent", async () => {
    const { calls, to } = holdfast();
    expect(await feedProfiles(to, [])).toMatchObject({ isDone: true });
    expect(calls).toEqual([]);
  });

  it("always is what the server takes", () => {
    const ms = fc.double({ min: 0, max: 86_400_000, noNaN: true });
    const anyRun = fc.record({
      kind: fc.constantFrom<ProfiledRun["kind"][]>("cold", "warm", "cached", "unknown"),
      outcome: fc.constantFrom<ProfiledRun["outcome"][]>("completed", "failed", "timed_out"),
      executeMs: fc.option(ms),
      longestSilenceMs: fc.option(ms),
    });
    fc.assert(
      fc.property(
        fc.array(anyRun, { maxLength: 6 }),
        fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(4e12) }),
        (some, startedAt) => {
          const runs = some.map((one, index) => ({
            index,
            seed: index,
            errorClass: null,
            message: "",
            firstStepMs: null,
            loaderMs: null,
            nodes: null,
            ...one,
          }));
          const facts = { name: "fox", hash: "abc", asked: runs.length, nodes: [], cards: [] };
          const summary = {
            version: 1 as const,
            target: { kind: "comfyui" as const, url: "http://127.0.0.1:8188", version: null },
            startedAt: startedAt.toISOString(),
            durationSeconds: 1,
            runsAsked: runs.length,
            stoppedBecause: "done" as const,
            gpuName: null,
            notes: [],
            workflows: [profileWorkflow({ ...facts, runs }).summary],
          };
          for (const one of fedProfiles(summary, () => GRAPH)) measuredProfileSchema.parse(one);
        },
      ),
    );
  });
});
