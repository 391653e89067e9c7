import { machineReportSchema } from "@holdfast/contract";
import { expect, test } from "vitest";
import type { MachineLock } from "../install/model.ts";
import { manifestSchema } from "../manifest/model.ts";
import type { ServiceReport } from "../services/model.ts";
import { createReporter, type ReportFacts } from "./machine-report.ts";

const SHA = "a".repeat(64);
const manifest = manifestSchema.parse({
  version: 1,
  nodes: [{ name: "pack", repo: "/repo", ref: "v1", classes: ["A", "B"], optional: true }],
  models: [
    { folder: "loras", name: "here.safetensors", url: "https://x/1", sha256: SHA },
    { folder: "loras", name: "gone.safetensors", url: "https://x/2", sha256: SHA, sizeBytes: 9 },
    {
      folder: "loras",
      name: "closed.safetensors",
      url: "https://x/3",
      sha256: SHA,
      licence: { name: "L", accepted: false },
    },
  ],
});
const lock = {
  release: "r1",
  comfyui: { commit: "c".repeat(40), version: "0.3.64" },
  python: { version: "3.11.9" },
  torch: { version: "2.7.0" },
  nodes: [
    { name: "pack", missing: "no network" },
    { name: "gone from the manifest", missing: "x" },
    { name: "there", missing: null },
  ],
} as unknown as MachineLock;
const service: ServiceReport = {
  name: "comfyui-gpu0",
  kind: "instance",
  state: "healthy",
  reason: "running, its check passes",
  since: 12.7,
  isConfigured: true,
  installation: { state: "installed", detail: null, version: "r1" },
  runtime: { state: "running", pid: 7, startedAt: 1, restarts: 0, detail: null },
  check: { state: "passing", detail: null, checkedAt: 5 },
  dependencies: [{ name: "installer", state: "healthy" }],
  transitions: [],
  details: { url: "http://127.0.0.1:8188" },
};
const facts = (over: Partial<ReportFacts> = {}): ReportFacts => ({
  services: [service],
  gpus: [],
  lock,
  manifest,
  manifestDigest: "d",
  presentModels: new Set(["loras/here.safetensors"]),
  host: {
    cpuCount: 2,
    memoryTotalBytes: 1,
    memoryFreeBytes: 1,
    diskTotalBytes: 1,
    diskFreeBytes: null,
  },
  healthPort: 9_090,
  ...over,
});

test("a report says what the machine is and offers, in the contract's form", () => {
  const report = createReporter()(facts());
  expect(machineReportSchema.parse({ ...report, agentVersion: "1", fetches: [] })).toBeTruthy();
  expect(report.release).toEqual({
    id: "r1",
    comfyuiCommit: "c".repeat(40),
    comfyuiVersion: "0.3.64",
    python: "3.11.9",
    torch: "2.7.0",
  });
  expect(report.services[0]).toMatchObject({ name: "comfyui-gpu0", since: 13 });
  expect(report.services[0]).not.toHaveProperty("details");
  // What is there is no offer, and a licence that nobody accepted is none either.
  expect(report.offers.models).toEqual([
    { folder: "loras", name: "gone.safetensors", sha256: SHA, sizeBytes: 9 },
  ]);
  expect(report.offers.packs).toEqual([
    { name: "pack", classes: ["A", "B"] },
    { name: "gone from the manifest", classes: [] },
  ]);
});

test("a bare machine reports too", () => {
  const bare = { services: [], lock: null, manifest: null, manifestDigest: null };
  const report = createReporter()(facts(bare));
  expect(report).toMatchObject({ release: null, offers: { models: [], packs: [] } });
});

test("offers are worked out anew only when they can have changed", () => {
  const report = createReporter();
  const first = report(facts({ presentModels: new Set() }));
  const present = new Set<string>();
  const second = report(facts({ presentModels: present }));
  expect(second.offers).not.toBe(first.offers);
  expect(report(facts({ presentModels: present, services: [] })).offers).toBe(second.offers);
  expect(report(facts({ presentModels: present, lock: null })).offers.packs).toEqual([]);
});
