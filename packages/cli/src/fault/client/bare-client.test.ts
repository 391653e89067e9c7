import { seededRandom } from "@holdfast/runtime";
import { systemClock } from "@holdfast/runtime/system";
import { startSimulator, type Simulator } from "@holdfast/simulator";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sleepingGraph } from "../graphs.ts";
import { createFaultProxy, type FaultProxy } from "../proxy/fault-proxy.ts";
import { openBareClient } from "./bare-client.ts";
import type { FaultClient } from "./fault-client.ts";

let simulator: Simulator;
let proxy: FaultProxy;
let client: FaultClient;
const never = new AbortController().signal;

beforeEach(async () => {
  simulator = await startSimulator({ clock: systemClock, timeScale: 0 });
  proxy = createFaultProxy(simulator.url, systemClock);
  await proxy.start();
  client = await openBareClient(proxy.url(), { clock: systemClock, random: seededRandom(1) });
});
afterEach(async () => {
  await client.close();
  await proxy.stop();
  await simulator.stop();
});

describe("a bare client", () => {
  it("tells pictures by what they show: the same of the same graph, another of another", async () => {
    const [first, other, again] = await Promise.all(
      [0, 1, 0].map((index) => client.render(sleepingGraph(index, 0), never)),
    );
    expect(first).toEqual({
      kind: "completed",
      pictures: [expect.stringMatching(/^[0-9a-f]{64}$/)],
    });
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
  });

  it("asks nothing twice: an answer of 503, or a socket that breaks, costs it the job", async () => {
    proxy.add({
      action: { kind: "answer", status: 503 },
      method: "POST",
      path: "/prompt",
      count: 1,
    });
    expect(await client.render(sleepingGraph(0, 0), never)).toMatchObject({
      kind: "lost",
      why: expect.stringContaining("503"),
    });
    const rendering = client.render(sleepingGraph(1, 30), never);
    while (simulator.stats().queueRemaining === 0) await systemClock.sleep(5);
    proxy.cutSockets();
    expect(await rendering).toMatchObject({
      kind: "lost",
      why: expect.stringContaining("the socket was dropped"),
    });
  });

  it("gives up when its caller does", async () => {
    const caller = new AbortController();
    const rendering = client.render(sleepingGraph(1, 30), caller.signal);
    while (simulator.stats().queueRemaining === 0) await systemClock.sleep(5);
    caller.abort();
    expect(await rendering).toEqual({ kind: "lost", why: "no word of it in time" });
  });
});
