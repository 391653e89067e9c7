/**
 * The twin of the matrix: the same world of processes, the same faults and the same checks, with the
 * fence taken out of the statements that the replicas send (unfence-preload.mjs). The matrix must find
 * what goes wrong then, or its silence on fenced replicas says nothing.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { UNFENCED } from "../../packages/control-plane/testing/unfenced.ts";
import { nameOf, UNFENCED_CELLS } from "./cells.ts";
import { chaosSettings, keepResult } from "./chaos-settings.ts";
import { runCell, type CellResult } from "./run-cell.ts";
import { startWorld, type World } from "./world.ts";

const { only } = chaosSettings();
const cells = UNFENCED_CELLS.filter((cell) => only === undefined || nameOf(cell) === only);

describe.skipIf(cells.length === 0)("without the fence", () => {
  let world: World;
  const results: CellResult[] = [];
  beforeAll(async () => {
    world = await startWorld({ statementEdits: UNFENCED });
  });
  afterAll(async () => {
    await world.close();
    keepResult("unfenced", { cells: results.length, results });
  });

  it.each(cells.map((cell) => [nameOf(cell), cell] as const))(
    "%s: two attempts change one job, and the matrix sees it",
    async (name, { shows, ...cell }) => {
      const result = await runCell(world, cell);
      results.push(result);
      const caught = result.problems.map((problem) => problem.slice(0, 200)).join("; ");
      console.log(`cell ${name}, unfenced: ${result.seconds} s, caught: ${caught}`);
      for (const problem of shows) {
        expect(result.problems).toContainEqual(expect.stringMatching(problem));
      }
    },
  );
});
