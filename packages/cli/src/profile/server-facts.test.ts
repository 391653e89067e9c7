import type { ComfyClient } from "@holdfast/comfyui";
import { createFakeClock } from "@holdfast/runtime/testing";
import { describe, expect, it } from "vitest";
import { cardName, createServerFacts } from "./server-facts.ts";

type Client = Pick<ComfyClient, "systemStats" | "queue" | "free" | "close">;

const GONE = {
  kind: "unreachable",
  code: "ECONNREFUSED",
  message: "refused",
  sent: false,
} as const;
const device = (type: string, name: string) => ({ type, name, index: 0 });
const statsOf = (devices: readonly object[]) =>
  Promise.resolve({ kind: "ok", stats: { devices } } as never);
const queueOf = (running: readonly string[], pending: readonly string[] = []) =>
  Promise.resolve({ kind: "ok", queue: { running, pending } } as never);

/** Answers as an idle ComfyUI with one card; what it is asked is kept. */
function facts(more: Partial<Client> = {}, kind: "comfyui" | "holdfast" = "comfyui") {
  const clock = createFakeClock();
  const asked: string[] = [];
  const client: Client = {
    systemStats: () => statsOf([device("cuda", "cuda:0 NVIDIA GeForce RTX 4090 : native")]),
    queue: () => queueOf([]),
    free(what) {
      asked.push(JSON.stringify(what));
      return Promise.resolve({ kind: "ok" });
    },
    close: () => Promise.resolve(),
    ...more,
  };
  return { clock, asked, server: createServerFacts({ kind }, client, clock) };
}

describe("the card's name", () => {
  it("is the first card's, as its driver has it, and cpu without one", async () => {
    expect(await facts().server.gpuName()).toBe("NVIDIA GeForce RTX 4090");
    const cpu = facts({ systemStats: () => statsOf([device("cpu", "cpu")]) });
    expect(await cpu.server.gpuName()).toBe("cpu");
  });

  it("is not made up: no device, no answer, a Holdfast", async () => {
    expect(await facts({ systemStats: () => statsOf([]) }).server.gpuName()).toBeNull();
    const gone = facts({ systemStats: () => Promise.resolve(GONE) });
    expect(await gone.server.gpuName()).toBeNull();
    expect(await facts({}, "holdfast").server.gpuName()).toBeNull();
  });

  it.each([
    ["cuda:0 NVIDIA H100 80GB HBM3 : cudaMallocAsync", "NVIDIA H100 80GB HBM3"],
    ["mps", "mps"],
    ["cuda:1 ", null],
  ])("of %j is %j", (told, name) => {
    expect(cardName(told)).toBe(name);
  });
});

describe("unloading all models", () => {
  it("is asked for, and waited for", async () => {
    const { server, clock, asked } = facts();
    const freed = server.free();
    await clock.advance(0);
    expect(clock.sleeperCount()).toBe(1);
    await clock.advanceToNext();
    expect(await freed).toBe(true);
    expect(asked).toEqual([`{"unloadModels":true,"freeMemory":true}`]);
  });

  it("leaves the models of others, and those of which nobody knows", async () => {
    for (const queue of [
      () => queueOf(["theirs"]),
      () => queueOf([], ["theirs"]),
      () => Promise.resolve(GONE),
    ]) {
      const { server, asked } = facts({ queue });
      expect(await server.free()).toBe(false);
      expect(asked).toEqual([]);
    }
    const holdfast = facts({}, "holdfast");
    expect(await holdfast.server.free()).toBe(false);
    expect(holdfast.asked).toEqual([]);
  });

  it("is not said to be done where it was refused", async () => {
    const { server, clock } = facts({ free: () => Promise.resolve(GONE) });
    const freed = server.free();
    await clock.advanceToNext();
    expect(await freed).toBe(false);
  });
});

it("a server is there whatever it answers, and is not where nothing does", async () => {
  const there = (answer: unknown) =>
    facts({ systemStats: () => Promise.resolve(answer as never) }).server.isThere();
  expect(await facts().server.isThere()).toBe(true);
  expect(await there({ kind: "http", status: 401, body: "" })).toBe(true);
  expect(await there({ kind: "malformed", message: "" })).toBe(true);
  expect(await there(GONE)).toBe(false);
  expect(await there({ kind: "timeout", afterMs: 1 })).toBe(false);
});
