// Lets a plain `node` run the TypeScript sources, so that a test can start, and kill, a real process
// without a build. The transform is the one that the test runner itself brings.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const fromHere = createRequire(import.meta.url);
const fromRunner = createRequire(createRequire(fromHere.resolve("vitest")).resolve("vite"));
const { transformSync } = await import(fromRunner.resolve("rolldown/utils"));

export async function load(url, context, next) {
  if (!url.startsWith("file:") || !url.endsWith(".ts")) return next(url, context);
  const file = fileURLToPath(url);
  const { code, errors } = transformSync(file, await readFile(file, "utf8"), { lang: "ts" });
  if (errors.length > 0) throw errors[0];
  return { format: "module", source: code, shortCircuit: true };
}
