/** A world of the contract with RunPod's stand-in in it. */
import { assertNever } from "@holdfast/runtime";
import { createFakeClock, type FakeClock } from "@holdfast/runtime/testing";
import type { FleetLabel } from "../src/label.ts";
import type { MachineProvider } from "../src/port.ts";
import { createRunpodProvider } from "../src/runpod/provider.ts";
import { runpodSettingsSchema } from "../src/runpod/settings.ts";
import {
  CONTRACT_RETRY_AFTER_MS,
  type ContractFault,
  type ContractWorld,
} from "./provider-contract.ts";
import {
  NO_ROOM,
  startRunpodStandIn,
  type RunpodStandIn,
  type StandInFault,
} from "./runpod-stand-in.ts";

/** See the head of this file. */
export interface RunpodWorld extends ContractWorld {
  readonly standIn: RunpodStandIn;
  readonly clock: FakeClock;
  provider(label: FleetLabel, settings?: Readonly<Record<string, unknown>>): MachineProvider;
}

/** The key that the stand-in takes. */
export const WORLD_KEY = "rpa_secret_of_the_world";

const HUGE_BYTES = 17 * 1024 * 1024;

/** Starts a stand-in whose list shows a new pod after `listLagMs`. */
export async function openRunpodWorld(listLagMs: number): Promise<RunpodWorld> {
  const clock = createFakeClock();
  const standIn = await startRunpodStandIn({ apiKey: WORLD_KEY, clock });
  standIn.listLagMs = listLagMs;
  let isRefusing = false;
  return {
    standIn,
    clock,
    secrets: [WORLD_KEY],
    provider(label, settings = {}) {
      const given = {
        baseUrl: standIn.baseUrl,
        apiKey: WORLD_KEY,
        image: "registry/agent:1",
        gpuTypes: ["NVIDIA L40S", "NVIDIA GeForce RTX 4090"],
        dataCenters: ["EU-RO-1", "US-KS-2"],
        ports: ["8188/http", "9090/tcp"],
        ...settings,
      };
      return createRunpodProvider({ settings: runpodSettingsSchema.parse(given), label, clock });
    },
    async fail(fault, calls) {
      if (fault === "refused") {
        isRefusing = true;
        await standIn.pause();
        return;
      }
      // A create looks for the name first, which is not what the suite asks about.
      standIn.fail(
        calls === "create" ? ["create"] : ["list", "get", "delete"],
        faultOf(fault, clock),
      );
    },
    async heal() {
      standIn.heal();
      if (isRefusing) await standIn.resume();
      isRefusing = false;
    },
    pass: (ms) => clock.advance(ms),
    close: () => standIn.close(),
  };
}

/** What the stand-in does for a fault of the contract. */
function faultOf(fault: Exclude<ContractFault, "refused">, clock: FakeClock): StandInFault {
  switch (fault) {
    case "capacity":
      return problem(400, NO_ROOM);
    case "rate_limited": {
      const headers = { "retry-after": String(CONTRACT_RETRY_AFTER_MS / 1_000) };
      return { ...problem(429, "rate limit exceeded for the minute window"), headers };
    }
    case "unauthorized":
      return problem(401, `the key ${WORLD_KEY} is not valid`);
    case "invalid":
      return problem(422, "Request validation failed: env.TOKEN is token-of-the-request");
    case "server_error":
      return { kind: "answer", status: 502, body: `<html>Bad Gateway ${WORLD_KEY}</html>` };
    case "reset_unheard":
      return { kind: "reset", isHeard: false };
    case "reset_heard":
      return { kind: "reset", isHeard: true };
    case "silent_heard": {
      const heard = (): void => void clock.advance(60_000);
      return { kind: "silence", isHeard: true, heard };
    }
    case "broken_json_heard":
      return { kind: "answer", status: 200, body: '{"id": "pod', isHeard: true };
    case "huge_body_heard":
      return { kind: "answer", status: 200, body: "x".repeat(HUGE_BYTES), isHeard: true };
    default:
      return assertNever(fault);
  }
}

function problem(status: number, detail: string): Extract<StandInFault, { kind: "answer" }> {
  return { kind: "answer", status, body: JSON.stringify({ title: "Problem", status, detail }) };
}
