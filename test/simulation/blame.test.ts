/** An instance on which everything fails, beside one that is well, on the whole system. */
import { readFileSync } from "node:fs";
import type { JobView } from "@holdfast/contract";
import { afterEach, expect, it } from "vitest";
import { until } from "../support/processes.ts";
import { startSystem, type TestSystem } from "../support/system.ts";

let system: TestSystem;
afterEach(() => system.close());

interface InstanceView {
  readonly id: string;
  readonly url: string;
  readonly quarantine: { readonly until: string; readonly reason: string } | null;
}

const GRAPH = JSON.parse(
  readFileSync(new URL("../../examples/sd15-text-to-image.json", import.meta.url), "utf8"),
) as Record<string, { inputs: Record<string, unknown> }>;

function graph(seed: number): object {
  const copy = structuredClone(GRAPH);
  Object.assign(copy["3"]?.inputs ?? {}, { seed, steps: 2 });
  return copy;
}

async function instances(): Promise<readonly InstanceView[]> {
  const { machines } = await system.client.call<{
    machines: readonly { readonly instances: readonly InstanceView[] }[];
  }>("GET", "/api/v1/machines");
  return machines.flatMap((machine) => machine.instances);
}

const ended = (id: string): Promise<JobView> =>
  until("the job ends", async () => {
    const job = await system.client.job(id);
    return job.endedAt === null ? undefined : job;
  });

it("is set aside after three jobs, all jobs complete on the other, and an operator may let it on", async () => {
  system = await startSystem({ simulators: [{}, {}] });
  const [sick, well] = system.simulators;
  if (sick === undefined || well === undefined) throw new Error("no simulators");
  sick.faults.add({
    kind: "raise",
    exceptionType: "CustomNodeError",
    message: "a fault nobody has seen",
    match: { nodeClass: "KSampler", count: 0 },
  });
  const isAside = ({ quarantine }: InstanceView): boolean => quarantine !== null;
  // How many of twelve come to the sick one is chance.
  for (let first = 0; first < 60 && !(await instances()).some(isAside); first += 12) {
    const seeds = Array.from({ length: 12 }, (_, at) => first + at);
    const submitted = await Promise.all(seeds.map((seed) => system.client.submit(graph(seed))));
    const jobs = await Promise.all(submitted.map(({ id }) => ended(id)));
    expect(jobs.map(({ status }) => status)).toEqual(jobs.map(() => "completed"));
  }
  const aside = (await instances()).filter(isAside);
  expect(aside.map(({ url }) => url)).toEqual([sick.url]);
  expect(aside[0]?.quarantine?.reason).toMatch(
    /^\d different jobs failed on it one after the other$/,
  );
  // Nothing more is tried there.
  const later = await Promise.all([100, 101, 102].map((seed) => system.client.submit(graph(seed))));
  const done = await Promise.all(later.map(({ id }) => ended(id)));
  expect(done.map(({ attemptCount }) => attemptCount)).toEqual([1, 1, 1]);
  const lifted = await system.client.call<InstanceView>(
    "POST",
    `/api/v1/instances/${aside[0]?.id ?? ""}/uncordon`,
    {},
  );
  expect(lifted.quarantine).toBeNull();
});
