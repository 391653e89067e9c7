import { readFileSync } from "node:fs";

/** One step of a recorded exchange; see fixtures/README.md. */
export interface FixtureStep {
  readonly t?: number;
  readonly note?: string;
  readonly ws?: string;
  readonly dir?: "s>c" | "c>s";
  readonly json?: unknown;
  readonly binary?: { readonly event: number; readonly length: number; readonly hex?: string };
  readonly http?: { readonly method: string; readonly path: string; readonly body?: unknown };
  readonly res?: { readonly status: number; readonly json?: unknown; readonly text?: string };
}

/** The raw JSON of a fixture file. */
export function readFixture(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../fixtures/${name}.json`, import.meta.url), "utf8"));
}

/** The steps of a recorded exchange. */
export function stepsOf(name: string): readonly FixtureStep[] {
  return (readFixture(name) as { steps: FixtureStep[] }).steps;
}

/** What the server said over the sockets of an exchange, as text frames. */
export function framesOf(name: string): readonly string[] {
  return stepsOf(name).flatMap((step) =>
    step.json !== undefined && step.ws !== undefined && step.dir === "s>c"
      ? [JSON.stringify(step.json)]
      : [],
  );
}

/** The HTTP steps of an exchange whose path begins so. */
export function callsOf(name: string, method: string, path: string): readonly FixtureStep[] {
  return stepsOf(name).filter(
    (step) => step.http?.method === method && step.http.path.startsWith(path),
  );
}
