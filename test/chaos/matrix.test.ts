import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { allCells, chooseCells } from "./cells.ts";
import { runCell, type CellResult } from "./run-cell.ts";
import { startWorld, type World } from "./world.ts";

/** Cells that stay in the suite; `npm run chaos` runs all of them. */
const CELLS_IN_SUITE = 24;
const isWhole = process.env["HOLDFAST_CHAOS"] === "all";
const seed = Number(process.env["HOLDFAST_CHAOS_SEED"] ?? 20_261_122);
const only = process.env["HOLDFAST_CHAOS_CELL"];
const resultFile = process.env["HOLDFAST_CHAOS_RESULT"];

const cells = (isWhole ? allCells() : chooseCells(CELLS_IN_SUITE, seed)).filter(
  (cell) => only === undefined || `${cell.victim}@${cell.instant}` === only,
);

describe(`kill -9 at every instant (seed ${seed}, ${cells.length} cells)`, () => {
  let world: World;
  const results: CellResult[] = [];
  beforeAll(async () => {
    world = await startWorld();
    console.log("the world is up");
  });
  afterAll(async () => {
    await world.close();
    if (resultFile === undefined) return;
    mkdirSync(dirname(resultFile), { recursive: true });
    const summary = {
      at: new Date().toISOString(),
      seed,
      cells: results.length,
      failed: results.filter((result) => !result.ok).length,
      results,
    };
    writeFileSync(resultFile, `${JSON.stringify(summary, null, 2)}\n`);
  });

  it.each(cells)(
    "$victim dies at $instant: nothing is lost, nothing is done twice",
    async (cell) => {
      const result = await runCell(world, cell);
      results.push(result);
      console.log(
        `cell ${cell.victim}@${cell.instant} seed ${seed}: ${result.ok ? "ok" : "FAILED"}, ${result.attempts} attempts, ${result.seconds} s`,
      );
      expect(result.problems).toEqual([]);
    },
  );
});
