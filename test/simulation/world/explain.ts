import type { SimulationResult } from "./simulate.ts";

const TAIL = 60;

/** What a person needs of a simulation that broke a promise: what, after what, and how to see it again. */
export function explain(result: SimulationResult): string {
  const { seed, violations, faults, tail, simulatedMs } = result;
  return [
    `seed ${seed} broke a promise after ${(simulatedMs / 1_000).toFixed(1)} simulated seconds:`,
    ...violations.map(({ rule, what }) => `  ${rule}: ${what}`),
    "faults that struck:",
    ...faults.map((fault) => `  ${fault}`),
    `the last ${TAIL} lines of the trace:`,
    ...tail.slice(-TAIL).map((line) => `  ${line}`),
    `replay it with: npm run test:sim -- --seed ${seed}`,
    "",
  ].join("\n");
}
