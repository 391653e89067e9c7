/** `npm run drill` (scripts/drill.mjs) sets what runs here, prints the report and keeps the result. */
import { expect, inject, it } from "vitest";
import { createSimTemplate } from "../simulation/world/database.ts";
import { runDrill } from "./drill.ts";
import { keepPart } from "./keep-part.ts";
import { reportOf, resultOf } from "./report.ts";

const seed = Number(process.env["HOLDFAST_DRILL_SEED"] ?? 1);
const count = Number(process.env["HOLDFAST_DRILL_FAULTS"] ?? 1_000);
const only = process.env["HOLDFAST_DRILL_ONLY"];
/** Faults between two lines that say how far it is. */
const TELL_EVERY = 50;

it(`${count} faults, seed ${seed}`, async () => {
  const serverUrl = inject("holdfastPostgresUrl");
  const template = await createSimTemplate(serverUrl);
  const startedAt = performance.now();
  let done = 0;
  try {
    const result = await runDrill({
      seed,
      count,
      serverUrl,
      template,
      ...(only !== undefined && { only: only.split("|") }),
      onRecord: () => {
        done += 1;
        if (done % TELL_EVERY === 0) process.stdout.write(`${done} of ${count} faults played\n`);
      },
    });
    const seconds = Math.round((performance.now() - startedAt) / 1_000);
    keepPart(`seed ${seed}`, { seconds, ...resultOf(result) }, reportOf(result));
    const missed = result.judged.filter(({ record }) => !record.hasStruck);
    expect(missed.map(({ record }) => `${record.index} ${record.kind}`)).toEqual([]);
  } finally {
    await template.drop();
  }
});
