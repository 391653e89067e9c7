import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_IMAGE_ERRORS } from "@holdfast/contract";
import { decideEnd, decideRefusal, retryPauseMs, withError, type JobEnd } from "./settling.ts";

const RULES = { maxRetries: 3, retryBackoffMs: [15_000, 45_000, 90_000] };
const NOW = Date.UTC(2026, 0, 1);
const failed: JobEnd = {
  jobId: "job_1",
  state: "failed",
  poison: false,
  round: 1,
  error: {
    class: "gpu_fault",
    subclass: "ecc",
    message: "the card is gone",
    strategy: "RETRY",
    confidence: 1,
    nodeId: "2",
    nodeType: "KSampler",
  },
};

describe("pauses", () => {
  it("come from the list, and the last repeats", () => {
    expect([1, 2, 3, 4, 9].map((round) => retryPauseMs(RULES.retryBackoffMs, round))).toEqual([
      15_000, 45_000, 90_000, 90_000, 90_000,
    ]);
  });

  it("of an empty list are none", () => {
    expect(retryPauseMs([], 2)).toBe(0);
  });
});

describe("the end of a page's job", () => {
  it("completed is done, and cancelled by hand is cancelled, not flagged", () => {
    expect(decideEnd({ ...failed, state: "completed" }, 0, RULES, NOW)).toEqual({ kind: "done" });
    expect(decideEnd({ ...failed, state: "cancelled" }, 0, RULES, NOW)).toEqual({
      kind: "cancelled",
    });
  });

  it.each(["failed", "timeout"] as const)("%s is tried again after the pause", (state) => {
    expect(decideEnd({ ...failed, state }, 1, RULES, NOW)).toMatchObject({
      kind: "retry",
      retryCount: 2,
      retryAt: NOW + 45_000,
      error: {
        attempt: 1,
        class: "gpu_fault",
        subclass: "ecc",
        message: "the card is gone",
        strategy: "RETRY",
        node_id: "2",
        node_type: "KSampler",
        job_id: "job_1",
        final: false,
      },
    });
  });

  it("is flagged when its rounds are used up", () => {
    expect(decideEnd(failed, 3, RULES, NOW)).toMatchObject({
      kind: "flagged",
      error: { final: true },
    });
  });

  it("is flagged after two rounds of a graph that ComfyUI refuses, whatever the batch allows", () => {
    const error = { ...failed.error!, class: "workflow_error" };
    expect(decideEnd({ ...failed, error }, 0, RULES, NOW).kind).toBe("retry");
    expect(decideEnd({ ...failed, error }, 1, RULES, NOW).kind).toBe("flagged");
    expect(decideEnd({ ...failed, error }, 0, { ...RULES, maxRetries: 0 }, NOW).kind).toBe(
      "flagged",
    );
  });

  it("is flagged at once after poison", () => {
    expect(decideEnd({ ...failed, poison: true }, 0, RULES, NOW).kind).toBe("flagged");
  });

  it("that nobody wrote an error for says how it ended", () => {
    const turn = decideEnd({ ...failed, state: "timeout", error: null }, 3, RULES, NOW);
    expect(turn).toMatchObject({
      error: { class: "unknown", message: "the job ended as timeout" },
    });
  });

  it("is flagged when the job was removed", () => {
    expect(decideEnd({ state: "gone", jobId: "job_1" }, 0, RULES, NOW)).toMatchObject({
      kind: "flagged",
      error: { job_id: "job_1", final: true },
    });
  });

  it("never gives a page more rounds than its batch allows", () => {
    fc.assert(
      fc.property(fc.nat(20), fc.array(fc.nat(100_000), { minLength: 1 }), (max, backoff) => {
        const rules = { maxRetries: max, retryBackoffMs: backoff };
        let retries = 0;
        for (;;) {
          const turn = decideEnd(failed, retries, rules, NOW);
          if (turn.kind === "flagged") break;
          if (turn.kind !== "retry") throw new Error(turn.kind);
          expect(turn.retryCount).toBe(retries + 1);
          expect(turn.retryAt).toBeGreaterThanOrEqual(NOW);
          retries = turn.retryCount;
        }
        expect(retries).toBe(max);
      }),
    );
  });
});

describe("a refused page", () => {
  const trouble = { code: "override_unmatched", message: "no node 9", details: { nodeId: "9" } };

  it("is tried a second time after the first pause, and then flagged", () => {
    expect(decideRefusal(trouble, 0, RULES, NOW)).toMatchObject({
      kind: "retry",
      retryCount: 1,
      retryAt: NOW + 15_000,
      error: { subclass: "override_unmatched", message: "no node 9", node_id: "9", job_id: null },
    });
    expect(decideRefusal(trouble, 1, RULES, NOW)).toMatchObject({
      kind: "flagged",
      error: { attempt: 2, final: true },
    });
  });

  it("is flagged at once where a batch allows no retry", () => {
    const rules = { ...RULES, maxRetries: 0 };
    const turn = decideRefusal({ code: "graph_empty", message: "empty" }, 0, rules, NOW);
    expect(turn).toMatchObject({ kind: "flagged", error: { node_id: null } });
  });
});

it("a page keeps its newest errors, the newest last", () => {
  const turn = decideEnd(failed, 3, RULES, NOW);
  if (turn.kind !== "flagged") throw new Error(turn.kind);
  let errors: Parameters<typeof withError>[0] = [];
  for (let attempt = 1; attempt <= MAX_IMAGE_ERRORS + 2; attempt += 1) {
    errors = withError(errors, { ...turn.error, attempt });
  }
  expect(errors).toHaveLength(MAX_IMAGE_ERRORS);
  expect(errors.at(-1)?.attempt).toBe(MAX_IMAGE_ERRORS + 2);
});
