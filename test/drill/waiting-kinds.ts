/** Runs that show no sign any more, and connections that fail. */
import { nextInt, pick } from "@holdfast/runtime";
import type { AskedOfComfy } from "../simulation/world/comfy.ts";
import { LARGE, type FaultKind } from "./fault-kind.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
/** Longer than any recovery of one job should have to wait. */
const LONG_MS = 15 * MINUTE;

const timeout = {
  class: "timeout",
  group: "timeout",
  isTransient: false,
  isRecoverable: true,
  fleet: LARGE,
} as const;
const network = {
  class: "network_error",
  group: "network",
  isTransient: false,
  isRecoverable: true,
  fleet: LARGE,
} as const;
const POST = { path: "/prompt", method: "POST" } as const;
const isPost = ({ method, path }: AskedOfComfy): boolean =>
  method === POST.method && path === POST.path;

/** Kinds of them. */
export const WAITING_KINDS: readonly FaultKind[] = [
  {
    ...timeout,
    name: "a node hangs until it is interrupted",
    weight: 45,
    strike: ({ struck }) => {
      const match = { nodeClass: "VAEDecode", count: 0 };
      struck.comfy.simulator.faults.add({ kind: "hang", polls: true, match });
    },
  },
  {
    ...timeout,
    name: "a node hangs and hears no interrupt",
    weight: 35,
    strike: (scene) => {
      const match = { nodeClass: "VAEDecode", count: 0 };
      scene.untilRestart(scene.struck, { kind: "hang", polls: false, match });
    },
  },
  {
    ...timeout,
    name: "the worker is dead, the server answers",
    weight: 40,
    strike: (scene) => {
      scene.untilRestart(scene.struck, { kind: "zombie", match: { nodeClass: "VAEDecode" } });
    },
  },
  {
    ...timeout,
    name: "a disk so slow that the model never comes",
    weight: 30,
    strike: ({ struck }) => {
      const match = { nodeClass: "CheckpointLoaderSimple", count: 0 };
      struck.comfy.simulator.faults.add({ kind: "slow_load", ms: LONG_MS, match });
    },
  },
  {
    ...network,
    name: "connections are refused",
    // Seen from outside a process that is gone looks the same.
    orClass: "instance_crash",
    weight: 35,
    strike: ({ struck, after }) => {
      struck.comfy.isCutOff = true;
      struck.comfy.simulator.faults.add({ kind: "drop_socket" });
      after(LONG_MS, () => (struck.comfy.isCutOff = false));
    },
  },
  {
    ...network,
    name: "a proxy in front answers 502, 503 or 504",
    // Where no other instance is better, only waiting helps.
    isTransient: true,
    // A 504 is the proxy's deadline.
    orClass: "timeout",
    weight: 40,
    strike: (scene) => {
      const status = pick(scene.random, [502, 503, 504]);
      let isOver = false;
      scene.after(LONG_MS, () => (isOver = true));
      scene.answer(scene.struck, () =>
        isOver ? undefined : { status, headers: {}, body: `${String(status)} from the proxy` },
      );
    },
  },
  {
    ...network,
    name: "a connection is lost for a minute and a half, in mid-run",
    isTransient: true,
    orClass: "instance_crash",
    weight: 20,
    strike: ({ struck, after }) => {
      after(SECOND, () => {
        struck.comfy.isCutOff = true;
        struck.comfy.simulator.faults.add({ kind: "drop_socket" });
      });
      after(91 * SECOND, () => (struck.comfy.isCutOff = false));
    },
  },
  {
    ...network,
    name: "POSTs are reset before they are taken",
    isTransient: true,
    weight: 15,
    strike: ({ struck, random }) => {
      const match = { ...POST, count: 1 + nextInt(random, 4) };
      struck.comfy.simulator.faults.add({ kind: "reset", when: "before", match });
    },
  },
  {
    ...network,
    name: "a POST is reset after it was taken",
    isTransient: true,
    weight: 15,
    strike: ({ struck }) => {
      struck.comfy.simulator.faults.add({ kind: "reset", when: "after", match: POST });
    },
  },
  {
    ...network,
    name: "a POST is answered 500 though it was taken",
    isTransient: true,
    weight: 10,
    strike: ({ struck }) => {
      const fault = { kind: "http_error", status: 500, when: "after", match: POST } as const;
      struck.comfy.simulator.faults.add(fault);
    },
  },
  {
    ...network,
    name: "POSTs are answered 502 for some seconds",
    isTransient: true,
    weight: 15,
    strike: (scene) => {
      let isOver = false;
      scene.after((3 + nextInt(scene.random, 6)) * SECOND, () => (isOver = true));
      scene.answer(scene.struck, (asked) =>
        isOver || !isPost(asked) ? undefined : { status: 502, headers: {}, body: "Bad Gateway" },
      );
    },
  },
  {
    ...network,
    name: "the socket is cut, silent or forgotten",
    isTransient: true,
    weight: 20,
    strike: ({ struck, random, promptId }) => {
      const kind = pick(random, ["drop_socket", "stall_socket", "lose_registration"] as const);
      const rule = { kind, afterEvents: 1 + nextInt(random, 5), match: { promptId } };
      struck.comfy.simulator.faults.add(rule);
    },
  },
];
