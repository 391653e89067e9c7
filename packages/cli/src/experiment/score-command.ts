import { spawn } from "node:child_process";
import type { Clock } from "@holdfast/runtime";

/** What a command said of a run. */
export type Scored =
  | { readonly kind: "score"; readonly score: number }
  | { readonly kind: "failed"; readonly reason: string };

const LIMIT_MS = 10 * 60_000;
/** Characters of what it prints that are read. */
const OUTPUT_MAX = 10_000;

/**
 * Runs a person's command on the pictures of a run, by the shell, with the pictures as its last
 * arguments; the last number that it prints is the score.
 */
export async function scoreByCommand(
  command: string,
  pictures: readonly string[],
  deps: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<Scored> {
  const child =
    process.platform === "win32"
      ? spawn(`${command} ${pictures.map((one) => `"${one}"`).join(" ")}`, { shell: true })
      : spawn("/bin/sh", ["-c", `${command} "$@"`, "sh", ...pictures]);
  const over = new AbortController();
  let output = "";
  let errors = "";
  child.stdin.end();
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output = (output + text).slice(-OUTPUT_MAX);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors = (errors + text).slice(-OUTPUT_MAX);
  });
  const kill = (): void => void child.kill("SIGKILL");
  deps.signal.addEventListener("abort", kill, { once: true });
  const late = deps.clock.sleep(LIMIT_MS, over.signal).then(kill, () => undefined);
  const code = await new Promise<number | string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (exit, signal) => resolve(exit ?? signal ?? "no exit code"));
  });
  over.abort();
  await late;
  deps.signal.removeEventListener("abort", kill);
  if (code !== 0) {
    const words = errors.trim().split("\n").at(-1) ?? "";
    return { kind: "failed", reason: `it ended with ${code}${words === "" ? "" : `: ${words}`}` };
  }
  const number = output.trim().split(/\s+/).at(-1) ?? "";
  const score = Number(number);
  if (number !== "" && Number.isFinite(score)) return { kind: "score", score };
  return { kind: "failed", reason: `expected a number, found ${JSON.stringify(number)}` };
}
