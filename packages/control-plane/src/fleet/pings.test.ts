import { createFakeClock } from "@holdfast/runtime/testing";
import { wantedMachine } from "@holdfast/fleet";
import { expect, it } from "vitest";
import { SILENT_LOG } from "../platform/log.ts";
import type { FleetPool } from "./fleet-settings.ts";
import { createPings } from "./pings.ts";
import { toStored } from "./stored-machine.ts";

const NOW = 1_000_000;

function setUp() {
  const clock = createFakeClock();
  const asked: string[] = [];
  let answer: string | null = null;
  const pings = createPings({
    clock,
    log: SILENT_LOG,
    ports: {
      async ping(url, token) {
        asked.push(`${url} ${token ?? "-"}`);
        return answer;
      },
    },
  });
  const pool = {
    name: "gpu",
    health: { port: 9090, token: async () => "secret" },
  } as unknown as FleetPool;
  const given = { id: "m1", name: "hf-1", pool: "gpu", offer: null, pricePerHour: null };
  const wanted = wantedMachine({ ...given, provider: "runpod" }, NOW);
  const machine = toStored({ ...wanted, state: "ready" }, { address: "10.0.0.7" });
  const { signal } = new AbortController();
  return {
    clock,
    asked,
    pings,
    set: (problem: string | null) => {
      answer = problem;
    },
    look: async (ms: number, healthPort: number | null = null, address = machine.address) => {
      await clock.advance(ms);
      const seen = [{ ...machine, address }];
      pings.look(seen, { healthPort: () => healthPort }, [pool], signal);
      await clock.advance(0);
    },
  };
}

it("asks each machine's health server at its pace, where it says that it is", async () => {
  const { asked, look } = setUp();
  await look(0);
  await look(9_000);
  await look(1_000, 9191);
  expect(asked).toEqual([
    "http://10.0.0.7:9090/health secret",
    "http://10.0.0.7:9191/health secret",
  ]);
  await look(10_000, null, "2001:db8::7");
  expect(asked.at(-1)).toBe("http://[2001:db8::7]:9090/health secret");
  await look(10_000, null, "203.0.113.9:32001");
  expect(asked.at(-1)).toBe("http://203.0.113.9:32001/health secret");
});

it("holds silence against a machine that has answered before, and no other", async () => {
  const { pings, set, look, clock } = setUp();
  set("connect ECONNREFUSED");
  await look(0);
  expect(pings.silence("m1", NOW)).toBeNull();
  set(null);
  await look(10_000);
  set("no answer within 5 s");
  await look(10_000);
  await clock.advance(4_000);
  expect(pings.silence("m1", NOW)).toEqual({
    since: NOW - 4_000,
    reason: "its health server does not answer: no answer within 5 s",
  });
  set(null);
  await look(10_000);
  expect(pings.silence("m1", NOW)).toBeNull();
});
