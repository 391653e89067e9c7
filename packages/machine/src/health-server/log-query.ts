import { HoldfastError } from "@holdfast/contract";
import { z } from "zod";

/** Most lines of one file that are sent at once. */
export const TAIL_LINES_MAX = 10_000;
const TAIL_LINES_DEFAULT = 200;

const flag = z.enum(["true", "false", "1", "0", ""], "expected true or false").default("false");
const querySchema = z.strictObject({
  tail: z
    .string()
    .regex(/^\d{1,6}$/, `expected a number of lines from 0 to ${TAIL_LINES_MAX}`)
    .transform(Number)
    .pipe(z.number().max(TAIL_LINES_MAX, `expected at most ${TAIL_LINES_MAX} lines`))
    .default(TAIL_LINES_DEFAULT),
  // `?follow` alone means it.
  follow: flag.transform((text) => text === "true" || text === "1" || text === ""),
  /** One file by its name; without it all of them. */
  file: z.string().min(1).max(255).optional(),
  format: z.enum(["text", "json"]).optional(),
});

/** What of a service's logs is asked for. */
export interface LogQuery {
  readonly tail: number;
  readonly follow: boolean;
  readonly file: string | undefined;
  readonly format: "text" | "json";
}

/** Reads a query; throws `invalid_request` with every problem. Without `format`, `accept` decides. */
export function parseLogQuery(query: unknown, accept: string | undefined): LogQuery {
  const parsed = querySchema.safeParse(query);
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => {
      const field = ["query", ...issue.path.map(String)].join(".");
      return { field, message: issue.message };
    });
    const [first] = problems;
    throw new HoldfastError(
      "invalid_request",
      `${first?.field}: ${first?.message}; known are tail, follow, file and format`,
      { details: { problems } },
    );
  }
  const { tail, follow, file, format } = parsed.data;
  const wantsJson = /application\/(?:x-nd)?json/.test(accept ?? "");
  return { tail, follow, file, format: format ?? (wantsJson ? "json" : "text") };
}
