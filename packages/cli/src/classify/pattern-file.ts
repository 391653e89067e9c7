import { readFile } from "node:fs/promises";
import { parseCustomPatterns, type CustomPattern } from "@holdfast/recovery";
import { CommandFailure } from "../command-failure.ts";
import { EXIT } from "../exit-codes.ts";

/** Custom patterns of a JSON file; refused with every problem in it. */
export async function readPatterns(path: string): Promise<readonly CustomPattern[]> {
  const parsed = parseCustomPatterns(await readJson(path));
  if (parsed.kind === "ok") return parsed.patterns;
  const problems = parsed.problems.map((problem) =>
    [path, problem.path, problem.message].filter((part) => part !== "").join(": "),
  );
  throw new CommandFailure(EXIT.refused, problems.join("\n"));
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    const what = error instanceof SyntaxError ? "is not JSON" : "cannot be read";
    throw new CommandFailure(EXIT.refused, `${path} ${what}: ${(error as Error).message}`);
  }
}
