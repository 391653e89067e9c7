import { readFileSync } from "node:fs";

/** A recorded answer. Only what was recorded is compared. */
export interface RecordedAnswer {
  readonly status: number;
  readonly content_type?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly json?: unknown;
  readonly text?: string;
  readonly length?: number;
  readonly head_hex?: string;
  /** Ids only, of an answer that was cut down. */
  readonly keys?: readonly string[];
  readonly running?: readonly (readonly unknown[])[];
  readonly pending?: readonly (readonly unknown[])[];
}

/** One field of a recorded form. */
export interface RecordedPart {
  readonly name: string;
  readonly filename?: string;
  readonly content_type?: string;
  readonly value?: string;
}

/** One step of a recorded exchange (packages/comfyui/fixtures/README.md). */
export interface FixtureStep {
  /** Seconds from the start. */
  readonly t?: number;
  readonly http?: {
    readonly method: string;
    readonly path: string;
    readonly body?: unknown;
    readonly raw_body?: string;
    readonly multipart?: readonly RecordedPart[];
    readonly headers?: Readonly<Record<string, string>>;
  };
  readonly res?: RecordedAnswer;
  readonly ws?: string;
  readonly open?: string;
  readonly dir?: "s>c" | "c>s";
  readonly json?: unknown;
  readonly binary?: {
    readonly event: number;
    readonly image_type?: number;
    readonly metadata?: Readonly<Record<string, unknown>>;
    readonly hex?: string;
  };
  readonly closed?: unknown;
  readonly note?: string;
}

/** A recorded exchange. */
export interface Fixture {
  readonly name: string;
  readonly steps: readonly FixtureStep[];
}

/** Reads a file of packages/comfyui/fixtures. */
export function readFixture(name: string): unknown {
  const file = new URL(`../../comfyui/fixtures/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(file, "utf8"));
}
