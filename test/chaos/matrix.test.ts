import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { allCells, chooseCells, UNFENCED_CELLS, nameOf, type Cell } from "./cells.ts";
import { chaosSettings, keepResult } from "./chaos-settings.ts";
import { runCell, type CellResult } from "./run-cell.ts";
import { startWorld, type World } from "./world.ts";

/** Cells that stay in the suite; `npm run chaos` runs all of them. */
const KILLS_IN_SUITE = 24;
const { isWhole, seed, only } = chaosSettings();

/** The two whose twins fail without the fence are always among them. */
function cellsInSuite(): Cell[] {
  const kills = chooseCells("kill", KILLS_IN_SUITE, seed);
  return [...kills, ...UNFENCED_CELLS, ...chooseCells("pause", 2, seed, ["postgres", "comfyui"])];
}

const cells = (isWhole ? allCells() : cellsInSuite()).filter(
  (cell) => only === undefined || nameOf(cell) === only,
);

describe(`a fault at every instant (seed ${seed}, ${cells.length} cells)`, () => {
  let world: World;
  const results: CellResult[] = [];
  beforeAll(async () => {
    world = await startWorld();
    console.log("the world is up");
  });
  afterAll(async () => {
    await world.close();
    keepResult("matrix", {
      seed,
      cells: results.length,
      failed: results.filter((result) => !result.ok).length,
      results,
    });
  });

  it.each(cells.map((cell) => [nameOf(cell), cell] as const))(
    "%s: nothing is lost, nothing is done twice",
    async (name, cell) => {
      const result = await runCell(world, cell);
      results.push(result);
      const found = result.ok ? "ok" : `FAILED (${result.problems.join("; ").slice(0, 400)})`;
      console.log(
        `cell ${name}, seed ${seed}: ${found}, ${result.attempts} attempts, ${result.seconds} s`,
      );
      expect(result.problems).toEqual([]);
    },
  );
});
