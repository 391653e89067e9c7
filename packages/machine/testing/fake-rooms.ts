import type { ServingRooms } from "../src/machine/serving-rooms.ts";
import type { FakeHost, FakeLocks } from "./fake-host.ts";

/** Rooms of a serving machine on a fake host; `kill` is told of the end of the process manager. */
export function fakeRooms(
  host: FakeHost,
  locks: FakeLocks,
  kill: () => Promise<void>,
): ServingRooms {
  return {
    manager: Object.assign(host, { kill }),
    exits: {
      note: () => Promise.resolve(),
      explain: () => Promise.resolve({ kind: "asked", words: "it was asked to end" }),
    },
    host,
    locks,
    files: host,
    processHost: {
      findCommand: async (path) => ({ kind: "found", path }),
      makeFolder: async () => undefined,
      startTime: async () => "t",
      isSame: async () => true,
      end: async () => undefined,
    },
    probe: async () => ({ kind: "passed", detail: "HTTP 200" }),
    livingNames: async () =>
      host.processes.filter(({ isAlive }) => isAlive).map(({ name }) => name),
    hasAmdGpu: () => Promise.resolve(false),
  };
}
