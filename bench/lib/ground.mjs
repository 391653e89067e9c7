/** The ground that tests of the whole machine stand on (a small internet on loopback), for benches. */
import { fileURLToPath } from "node:url";
import { runnerImport } from "vite";

const GROUND = new URL("../../test/machine/ground/", import.meta.url);

/** Exports of `test/machine/ground/NAME.ts`: Node does not read TypeScript by itself everywhere. */
export async function importGround(name) {
  const { module } = await runnerImport(fileURLToPath(new URL(`${name}.ts`, GROUND)), {
    configFile: false,
    logLevel: "warn",
  });
  return module;
}
