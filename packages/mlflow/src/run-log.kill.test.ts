/** Processes that are killed while they log and deliver, one after the other on the same folder. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { nextInt, seededRandom } from "@holdfast/runtime";
import { expect, it } from "vitest";
import { spawnTypeScript } from "../../../test/support/spawn-typescript.ts";
import { sha256Of } from "../testing/fake-mlflow.ts";
import { logKit } from "../testing/log-kit.ts";

const RUNS = 80;
const KILLS = 5;
const SEED = Number(process.env["HOLDFAST_TEST_SEED"] ?? 7);

it(`a log whose process is killed again and again loses and doubles nothing (seed ${SEED})`, async () => {
  const random = seededRandom(SEED);
  const kit = await logKit();
  try {
    await writeFile(join(kit.home, "image.png"), "image");
    // Answers are lost on top, and MLflow takes its time: so that kills hit what is under way.
    kit.fake.fault = () => {
      const dice = nextInt(random, 20);
      return dice === 0 ? "lose_answer" : dice === 1 ? "late" : "none";
    };
    let kept = -1;
    let isFlushed = false;
    for (let life = 0; !isFlushed; life += 1) {
      // What the disk has is not logged again; of what it may have, all is.
      const args = [kit.home, kit.fake.url, `${kept + 1}`, `${RUNS}`];
      const process_ = spawnTypeScript(new URL("../testing/log-child.ts", import.meta.url), args);
      process_.child.stdout?.on("data", (chunk: Buffer) => {
        for (const [, n] of chunk.toString().matchAll(/kept (\d+)\n/g))
          kept = Math.max(kept, Number(n));
      });
      if (life < KILLS) {
        // From the first record on: before that nothing is at stake.
        const isOver = await process_.line(/kept|flushed/).then(
          ([said]) => said === "flushed",
          () => true,
        );
        await new Promise((resolve) => setTimeout(resolve, isOver ? 0 : nextInt(random, 120)));
        await process_.kill("SIGKILL");
      } else {
        kit.fake.fault = () => "none";
        expect((await process_.line(/^flushed .*/))[0]).toBe("flushed delivered 0");
        expect(await process_.ended).toBe(0);
        isFlushed = true;
      }
    }
    expect(kept).toBe(RUNS - 1);
    expect(kit.fake.runsByName().size).toBe(RUNS);
    for (let n = 0; n < RUNS; n += 1) {
      const run = kit.run(`exp_${n}`);
      expect(run.status).toBe("FINISHED");
      expect([...run.metrics]).toEqual([`["value",${n},${n},${n}]`]);
      expect(Object.fromEntries(run.params)).toEqual({ n: `${n}` });
      expect(Object.fromEntries(run.artifacts)).toEqual({ "image.png": sha256Of("image") });
    }
  } finally {
    await kit.close();
  }
}, 120_000);
