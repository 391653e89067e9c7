import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DEFAULT_LIMITS } from "./limits.ts";
import { isOfOtherAttempt, outputKindOf, outputNameOf } from "./output-name.ts";
import { renameInput } from "./place-input.ts";
import { rewriteOutputs } from "./prepare.ts";
import { decideStall } from "./stall.ts";
import { extendTrust, hasLostTrust } from "./trust.ts";
import { decideSlots, decideWants, RUNS_REMEMBERED, type WantsFacts } from "./wants.ts";
import { beginWatch, type WatchState } from "./watch-state.ts";

function watch(facts: Partial<WatchState>): WatchState {
  const state = beginWatch({ isSocketUseful: true, at: 0 }, DEFAULT_LIMITS);
  return { ...state, phase: "running", lastSignAt: 1_000, ...facts };
}

function file(subfolder: string, filename: string, key = "images", type = "output") {
  return { subfolder, filename, key, type };
}

describe("the trust window", () => {
  it("ends before the lease does, counted from before the call was sent", () => {
    const window = extendTrust(undefined, 10_000, 100, 2_000);
    expect(hasLostTrust(window, 8_099)).toBe(false);
    expect(hasLostTrust(window, 8_100)).toBe(true);
  });

  it("is never shortened by an answer that comes late", () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 60_000 }), (a, b, ttlMs) => {
        const first = extendTrust(undefined, ttlMs, a, 500);
        const second = extendTrust(first, ttlMs, b, 500);
        expect(second.trustedUntil).toBeGreaterThanOrEqual(first.trustedUntil);
        expect(second.trustedUntil).toBeLessThan(Math.max(a, b) + ttlMs);
      }),
    );
  });
});

describe("a stall", () => {
  const stall = { progressMs: 120_000, firstLoadMs: 300_000 };
  it("takes longer to call while a model may be loading", () => {
    expect(decideStall(watch({}), stall, 0).stallAt).toBe(301_000);
    expect(decideStall(watch({ hasProgressed: true }), stall, 0).stallAt).toBe(121_000);
  });

  it("is never called under what garbage collection may take (F29)", () => {
    const short = { progressMs: 1, firstLoadMs: 1 };
    expect(decideStall(watch({}), short, 10_000).stallAt).toBe(11_000);
  });

  it("is not called of a prompt that waits, is over, or cannot be heard", () => {
    for (const facts of [
      { phase: "waiting" },
      { phase: "over" },
      { isSocketUseful: false },
    ] as const) {
      expect(decideStall(watch(facts), stall, 0).stallAt).toBe(Infinity);
    }
  });

  it("asks for a new socket once before, in case this one is deaf", () => {
    expect(decideStall(watch({ hasProgressed: true }), stall, 0).refreshAt).toBe(61_000);
    expect(decideStall(watch({ isRefreshed: true }), stall, 0).refreshAt).toBe(Infinity);
  });
});

const idle: WantsFacts = {
  isHealthy: true,
  isReady: true,
  isDraining: false,
  hasJustFailed: false,
  isReserved: false,
  occupied: 0,
  collecting: 0,
  spoolHasRoom: true,
  recentRunsMs: [],
  stillMs: 0,
};

describe("what an instance wants", () => {
  it("is one to run and one to stage", () => {
    expect(decideWants(idle, DEFAULT_LIMITS)).toBe(2);
    expect(decideWants({ ...idle, occupied: 1 }, DEFAULT_LIMITS)).toBe(1);
    expect(decideWants({ ...idle, occupied: 2 }, DEFAULT_LIMITS)).toBe(0);
  });

  it("is nothing to stage after a failure", () => {
    expect(decideWants({ ...idle, hasJustFailed: true }, DEFAULT_LIMITS)).toBe(1);
    expect(decideWants({ ...idle, hasJustFailed: true, occupied: 1 }, DEFAULT_LIMITS)).toBe(0);
  });

  it.each([
    { isHealthy: false },
    { isReady: false },
    { isDraining: true },
    { isReserved: true },
    { spoolHasRoom: false },
    { collecting: DEFAULT_LIMITS.collectingPerInstance },
  ])("is nothing with %o", (facts) => {
    expect(decideWants({ ...idle, ...facts }, DEFAULT_LIMITS)).toBe(0);
  });
});

describe("the depth of ComfyUI's queue", () => {
  const runs = (ms: number): number[] => Array.from({ length: RUNS_REMEMBERED }, () => ms);
  const slots = (recentRunsMs: readonly number[], stillMs = 0): number =>
    decideSlots({ recentRunsMs, stillMs }, DEFAULT_LIMITS);

  it("grows only while every recent prompt was short", () => {
    expect(slots(runs(5))).toBe(DEFAULT_LIMITS.slotsMax);
    expect(slots(runs(20))).toBe(3);
    expect(slots(runs(60))).toBe(2);
    expect(slots(runs(5).slice(1))).toBe(2);
    expect(slots([...runs(5).slice(1), 3_000])).toBe(2);
    expect(slots(runs(0))).toBe(DEFAULT_LIMITS.slotsMax);
    expect(slots(runs(5), 500)).toBe(2); // What runs now is no short one.
  });

  it("is never under one running and one staged, nor over its limit", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 10_000 })), fc.nat(), (recent, stillMs) => {
        expect(slots(recent, stillMs)).toBeGreaterThanOrEqual(DEFAULT_LIMITS.slotsPerInstance);
        expect(slots(recent, stillMs)).toBeLessThanOrEqual(DEFAULT_LIMITS.slotsMax);
      }),
    );
  });

  it("is filled up in steps, and by one after a failure", () => {
    const short = { ...idle, recentRunsMs: runs(1) };
    expect(decideWants(short, DEFAULT_LIMITS)).toBe(8);
    expect(decideWants({ ...short, occupied: 5 }, DEFAULT_LIMITS)).toBe(0);
    expect(decideWants({ ...short, occupied: 4 }, DEFAULT_LIMITS)).toBe(4);
    expect(decideWants({ ...short, hasJustFailed: true }, DEFAULT_LIMITS)).toBe(1);
  });
});

describe("names of outputs", () => {
  const attemptId = "att_1";
  it("keep the caller's folders and lose the attempt's", () => {
    expect(outputNameOf(file("holdfast/att_1/books", "p_1_.png"), attemptId)).toBe(
      "books/p_1_.png",
    );
    expect(outputNameOf(file("holdfast\\att_1", "p_1_.png"), attemptId)).toBe("p_1_.png");
    expect(outputNameOf(file("", "x.png", "images", "temp"), attemptId)).toBe("x.png");
  });

  it("give away a file that a cache took from another attempt (F16)", () => {
    expect(isOfOtherAttempt(file("holdfast/att_2/books", "p.png"), attemptId)).toBe(true);
    expect(isOfOtherAttempt(file("holdfast/att_1/books", "p.png"), attemptId)).toBe(false);
    expect(isOfOtherAttempt(file("custom", "p.png"), attemptId)).toBe(false);
  });

  it("tell the kind by the ending first, then by the list", () => {
    expect(outputKindOf(file("", "a.mp4", "gifs"))).toBe("video");
    expect(outputKindOf(file("", "a.png", "images"))).toBe("image");
    expect(outputKindOf(file("", "a.latent", "latents"))).toBe("latent");
    expect(outputKindOf(file("", "a.bin", "audio"))).toBe("audio");
    expect(outputKindOf(file("", "a.glb", "3d"))).toBe("file");
  });
});

describe("a graph made ready", () => {
  it("has names of its own attempt in every output node", () => {
    const graph = {
      "1": { class_type: "SaveImage", inputs: { filename_prefix: "/x", images: ["9", 0] } },
      "2": { class_type: "PreviewImage", inputs: { images: ["9", 0] } },
    };
    const promised = [
      { nodeId: "1", classType: "SaveImage", kind: "file" },
      { nodeId: "2", classType: "PreviewImage", kind: "temp" },
    ] as const;
    const ready = rewriteOutputs(graph, "att_1", promised);
    expect(ready["1"]?.inputs["filename_prefix"]).toBe("holdfast/att_1/x");
    expect(ready["2"]?.inputs["holdfast_attempt"]).toBe("att_1");
  });

  it("reads the uploaded file, alone or in a list", () => {
    const graph = {
      "1": { class_type: "LoadImage", inputs: { image: "a.png" } },
      "2": { class_type: "LoadImages", inputs: { images: { __value__: ["a.png", "b.png"] } } },
    };
    const one = renameInput(graph, { nodeId: "1", input: "image", name: "a.png" }, "h/1.png");
    expect(one["1"]?.inputs["image"]).toBe("h/1.png");
    const many = renameInput(graph, { nodeId: "2", input: "images", name: "b.png" }, "h/2.png");
    expect(many["2"]?.inputs["images"]).toEqual({ __value__: ["a.png", "h/2.png"] });
  });
});
