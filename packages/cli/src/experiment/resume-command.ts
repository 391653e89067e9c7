/** How to go on with an experiment, as a line for a person's shell. */
import type { RunOptions } from "./options.ts";
import { shellWord } from "../terminal/shell-word.ts";

/**
 * `holdfast experiment run castle.yaml --output out --count 250 --resume`: with what was asked for, but
 * without secrets. A key is left to `HOLDFAST_API_KEY`; where an address has one, a person puts it in.
 */
export function resumeCommand(
  file: string,
  options: RunOptions,
  count: number,
  startFrom?: number,
): string {
  const { mlflow, timeout } = options;
  const valued = {
    "--in-flight": options.inFlight,
    "--on-unhealthy": options.onUnhealthy,
    "--services": options.services,
    "--server": options.server,
    "--holdfast": options.holdfast,
    "--output": options.output,
    "--store": options.store,
    "--mlflow": typeof mlflow === "string" ? mlflow : undefined,
    "--timeout": timeout === undefined ? undefined : `${timeout}ms`,
  };
  const given = Object.entries(valued).flatMap(([name, value]) =>
    value === undefined ? [] : [name, shellWord(withoutSecrets(String(value)))],
  );
  const flags = {
    "--no-mlflow": mlflow === false,
    "--no-check": options.check === false,
    "--pre-flight": options.preFlight === true,
    "--json": options.json === true,
  };
  const set = Object.entries(flags).flatMap(([name, isSet]) => (isSet ? [name] : []));
  const how = startFrom === undefined ? ["--resume"] : ["--start-from", String(startFrom)];
  const words = [shellWord(file), ...given, ...set, "--count", String(count), ...how];
  return `holdfast experiment run ${words.join(" ")}`;
}

function withoutSecrets(text: string): string {
  return text.replaceAll(/\/\/[^/@\s]*@/g, "//USER:PASSWORD@");
}
