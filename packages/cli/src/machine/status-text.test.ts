import type { InstallationSummary } from "@holdfast/machine";
import { expect, test } from "vitest";
import type { AgentSight } from "./ask-health.ts";
import { statusLines } from "./status-text.ts";

const lock = {
  release: "r2",
  createdAt: 1_700_000_000_000,
  comfyui: { commit: "c".repeat(40), version: "0.3.64", adopted: null },
  python: { version: "3.11.9" },
  torch: { version: "2.7.0", backend: "cpu" },
  nodes: [
    { name: "pack", commit: "d".repeat(40), missing: null },
    { name: "other", commit: "e".repeat(40), missing: "no network" },
  ],
  models: [{}, {}],
  nodeClasses: ["A"],
} as unknown as NonNullable<InstallationSummary["lock"]>;
const summary = (over: Partial<InstallationSummary> = {}): InstallationSummary => ({
  lock,
  current: "r2",
  previous: "r1",
  releases: [
    { id: "r1", lock, isCurrent: false, isPrevious: true },
    { id: "r2", lock, isCurrent: true, isPrevious: false },
    { id: "r3", lock: null, isCurrent: false, isPrevious: false },
  ],
  hold: null,
  damage: null,
  busyPid: null,
  ...over,
});
const NONE: AgentSight = { kind: "none" };

test("what serves, what it holds, and where a rollback would go", () => {
  expect(statusLines(summary(), NONE)).toEqual([
    "release r2 serves, made 2023-11-14T22:13:20.000Z",
    "  ComfyUI 0.3.64 (cccccccccccc), Python 3.11.9, PyTorch 2.7.0 (cpu)",
    "  node pack pack dddddddddddd",
    "  node pack other is MISSING: no network",
    "  2 models, 1 node classes",
    "  release r1 (before: rollback goes there)",
    "  release r3 is half-built",
    "no agent runs on this machine folder",
  ]);
});

test("that the manifest is held back is told beside what serves", () => {
  const left = { from: "r3", to: "r2", at: 0, by: "operator", reason: null } as const;
  const hold = { version: 1 as const, manifests: ["d"], ...left };
  const told = statusLines(summary({ hold }), NONE);
  expect(told[5]).toMatch(/^ {2}machine\.yaml is held back since 1970.*release r2 serves/);
  expect(told[6]).toContain("release r1");
  const damage = "release r2 serves and is damaged: main.py is gone";
  expect(statusLines(summary({ hold, damage }), NONE)[6]).toBe(`  ${damage}`);
});

test("an adopted ComfyUI is told by its folder, and one without torch without it", () => {
  const adopted = {
    ...lock,
    comfyui: { commit: null, version: null, adopted: "/srv/comfyui" },
    torch: { version: null, backend: "none" },
  } as unknown as typeof lock;
  expect(statusLines(summary({ lock: adopted }), NONE)[1]).toBe(
    "  ComfyUI ? (/srv/comfyui), Python 3.11.9, PyTorch none",
  );
  const left = { ...lock, torch: { version: "2.7.0", backend: "none" } };
  expect(statusLines(summary({ lock: left }), NONE)[1]).toContain(
    "2.7.0, left to the requirements",
  );
});

test("a bare machine says how to begin, and who is at it", () => {
  const bare = { lock: null, current: null, previous: null, releases: [], busyPid: 7 };
  expect(statusLines(summary(bare), NONE)).toEqual([
    "nothing is installed: holdfast machine install",
    "an installer is at work: process 7",
    "no agent runs on this machine folder",
  ]);
});

test("an agent that answers tells its services and what is wrong with the manifest", () => {
  const agent = {
    kind: "answers",
    url: "http://127.0.0.1:9090",
    health: { state: "degraded", reason: "1 of 2", manifest: { problems: ["line 3: no"] } },
    services: [{ name: "comfyui-gpu0", state: "unhealthy", reason: "it is silent" }],
  } as unknown as AgentSight;
  expect(statusLines(summary(), agent).slice(-3)).toEqual([
    "agent at http://127.0.0.1:9090: degraded, 1 of 2",
    "  line 3: no",
    "  comfyui-gpu0: unhealthy, it is silent",
  ]);
});

test("one that does not tell is not called absent", () => {
  const url = "http://127.0.0.1:9090";
  const agent: AgentSight = { kind: "silent", url, pid: 7, reason: "it asks for its token" };
  expect(statusLines(summary(), agent).at(-1)).toBe(
    "an agent runs (process 7, http://127.0.0.1:9090) and tells nothing: it asks for its token",
  );
});
