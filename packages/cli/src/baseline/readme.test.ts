import { describe, expect, it } from "vitest";
import type { LoadSummary } from "@holdfast/load";
import { jobSample, summaryOf } from "../../../load/testing/sample-summary.ts";
import { localDay } from "../day-folder.ts";
import type { Hardware } from "./hardware.ts";
import { baselineReadme, type BaselineFacts } from "./readme.ts";

const HARDWARE: Hardware = {
  host: {
    system: "Linux 6 x64",
    cpu: "8 × A|B",
    memoryBytes: 64e9,
    node: "v20",
    holdfast: "0.1.0",
  },
  gpus: {
    cards: [{ name: "RTX 4090", memoryBytes: 24 * 1_024 ** 3 }],
    driver: "590.1",
    cuda: "13.0",
    failure: null,
  },
  comfyui: {
    version: "0.3.64",
    python: "3.11",
    pytorch: null,
    devices: [{ name: "cuda:0 RTX 4090", memoryBytes: null }],
  },
  instances: null,
};
const summary = (): LoadSummary =>
  summaryOf(
    Array.from({ length: 40 }, (_, index) => jobSample({ index, begunMs: index * 1_000 })),
    {
      plan: {
        pace: "closed:4",
        seed: 1,
        workflows: [{ name: "small", hash: "abc123", weight: 1 }],
        warmUp: { jobs: 0, forMs: 0 },
      },
      asked: 40,
    },
  ).summary;
const facts = (more: Partial<BaselineFacts> = {}): BaselineFacts => ({
  name: "2026-11-28",
  folder: "infra/observability/baselines/2026-11-28",
  hardware: HARDWARE,
  workflowFiles: ["infra/comfyui/samples/small.json"],
  timeoutSeconds: 420,
  loads: [{ file: "load-4.json", summary: summary() }],
  isWhole: true,
  ...more,
});

describe("the README of a baseline", () => {
  it("has hardware, driver, versions, workflow hash, parameters and metrics", () => {
    const text = baselineReadme(facts());
    expect(text).toContain("| GPUs | RTX 4090, 24 GiB |");
    expect(text).toContain("| driver | 590.1 |");
    expect(text).toContain("| CUDA of the driver | 13.0 |");
    expect(text).toContain("| Python and PyTorch | 3.11, not told |");
    expect(text).toContain("| small | abc123 | 1 |");
    expect(text).toContain("| time-out of a job | 420 s |");
    expect(text).toMatch(
      /\| load-4\.json \| closed:4 \| 40 of 40 \| 100 % \| [\d.]+ \|.*\| none \|/,
    );
    expect(text).toContain(
      "holdfast load --server http://127.0.0.1:8188 --workflow infra/comfyui/samples/small.json --jobs 40 --concurrency 4 --warm-up 0 --timeout 420 --seed 1 --compare infra/observability/baselines/2026-11-28/load-4.json",
    );
    expect(text).not.toContain("stopped");
  });

  it("says what nobody told, and what is missing", () => {
    const nothing: Hardware = {
      ...HARDWARE,
      gpus: null,
      comfyui: null,
      instances: ["box/gpu0 (simulated)"],
    };
    const text = baselineReadme(facts({ hardware: nothing, isWhole: false }));
    expect(text).toContain("| GPUs | of another host: not told |");
    expect(text).toContain("| instances | box/gpu0 (simulated) |");
    expect(text).toContain("**It was stopped: some runs are missing.**");
    const failed = { ...HARDWARE.gpus, cards: [], driver: null, cuda: null, failure: "no driver" };
    expect(baselineReadme(facts({ hardware: { ...HARDWARE, gpus: failed } }))).toContain(
      "| GPUs | none (no driver) |",
    );
    expect(baselineReadme(facts({ loads: [] }))).toContain("# Baseline 2026-11-28");
  });

  it("has a command whose words a shell keeps, and whose file is not taken for a weight", () => {
    const of = (file: string) => baselineReadme(facts({ workflowFiles: [file] }));
    expect(of("my books/small.json")).toContain("--workflow 'my books/small.json' --jobs");
    expect(of("a=2.json")).toMatch(/--workflow '?a=2\.json=1'? --jobs/);
  });

  it("keeps text from outside in its cell", () => {
    expect(baselineReadme(facts())).toContain("8 × A\\|B");
  });
});

it("a day is the local one", () => {
  expect(localDay(new Date(2026, 0, 5, 23, 59).getTime())).toBe("2026-01-05");
});
