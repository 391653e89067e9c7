/**
 * Machines that tell what they are, through everything that fails in a fleet: what they tell arrives, and
 * where it never does nothing else is held up by it.
 */
import type { OwnReport, ToldRun } from "@holdfast/agent";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { createSimTemplate, type SimTemplate } from "./world/database.ts";
import { explain } from "./world/explain.ts";
import type { MachineOptions } from "./world/machine.ts";
import { simulate } from "./world/simulate.ts";

let template: SimTemplate;
beforeAll(async () => {
  template = await createSimTemplate(inject("holdfastPostgresUrl"));
});
afterAll(() => template.drop());

/** A report that is another one each time it is looked at. */
function changing(): () => OwnReport {
  let looks = 0;
  return () => {
    looks += 1;
    return {
      services: [],
      gpus: [],
      release: null,
      manifestDigest: String(looks),
      host: {
        cpuCount: 1,
        memoryTotalBytes: 1,
        memoryFreeBytes: 1,
        diskTotalBytes: 1,
        diskFreeBytes: 1,
      },
      offers: { models: [], packs: [] },
      healthPort: 9_090,
    };
  };
}

const bootRun = (boot: number): ToldRun => ({
  runId: `boot-${boot}`,
  kind: "start",
  steps: ["look", "start"].map((id) => ({
    id,
    title: id,
    outcome: "done",
    startedAt: 1,
    durationMs: 1,
    detail: "",
    advice: null,
    isOptional: false,
  })),
});

const run = (seed: number, machines: Pick<MachineOptions, "agentOptions" | "onStart">) =>
  simulate({ seed, serverUrl: inject("holdfastPostgresUrl"), template, machines });

it.each([1, 2, 3])("what machines tell breaks no promise (seed %i)", async (seed) => {
  let told = 0;
  const result = await run(seed, {
    agentOptions: (link) => ({
      report: changing(),
      link: {
        ...link,
        putMachineReport: async (request, signal) => {
          await link.putMachineReport(request, signal);
          told += 1;
        },
      },
    }),
    onStart: (agent, boot) => agent.tellRun(bootRun(boot)),
  });
  expect(result.violations, explain(result)).toEqual([]);
  expect(told).toBeGreaterThan(5);
});

it.each([1, 2, 3])(
  "a control plane that never takes it holds nothing up (seed %i)",
  async (seed) => {
    let refused = 0;
    const refuse = (): Promise<never> => {
      refused += 1;
      return Promise.reject(new Error("connection reset"));
    };
    const result = await run(seed, {
      agentOptions: (link) => ({
        report: changing(),
        link: { ...link, putMachineReport: refuse, putStartupSteps: refuse },
      }),
      onStart: (agent, boot) => agent.tellRun(bootRun(boot)),
    });
    expect(result.violations, explain(result)).toEqual([]);
    expect(refused).toBeGreaterThan(5);
  },
);
