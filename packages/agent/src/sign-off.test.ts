import { expect, it } from "vitest";
import { HoldfastError, type InstanceReport, type PollRequest } from "@holdfast/contract";
import { systemClock } from "@holdfast/runtime/system";
import type { AgentLog } from "./agent-log.ts";
import { signOff } from "./sign-off.ts";

const nothing = (): void => undefined;
const log = { debug: nothing, info: nothing, warn: nothing, error: nothing } as unknown as AgentLog;
const report: InstanceReport = {
  instanceId: "ins_1",
  state: "healthy",
  reason: null,
  inventoryDigest: null,
  wants: 2,
  vramFreeBytes: null,
};

it("signs off under its own session, and takes a refusal for what it is", async () => {
  const polls: PollRequest[] = [];
  await signOff({ machineId: "mch_1", session: 4 }, [report], {
    clock: systemClock,
    log,
    limitMs: 1_000,
    link: {
      poll: (request) => {
        polls.push(request);
        return Promise.reject(new HoldfastError("agent_superseded", "session 5 has begun"));
      },
    },
  });
  expect(polls).toMatchObject([
    { session: 4, held: [], waitMs: 0, instances: [{ state: "stopped", wants: 0 }] },
  ]);
});
