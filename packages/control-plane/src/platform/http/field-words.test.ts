import { alertIdSchema, instantSchema } from "@holdfast/contract";
import { validatorCompiler } from "fastify-type-provider-zod";
import { expect, it } from "vitest";
import { z } from "zod";
import { fieldWords, type FieldIssue } from "./field-words.ts";

/** As a route's validation tells it. */
function wordsFor(schema: z.ZodType, value: unknown): string {
  const route = { schema, method: "POST", url: "/", httpPart: "body" };
  const validate = validatorCompiler(route) as (value: unknown) => {
    readonly error?: readonly FieldIssue[];
  };
  const [issue] = validate(value).error ?? [];
  if (issue === undefined) throw new Error("it is valid");
  return fieldWords(issue);
}

const body = z.object({ reason: z.string() });

it.each<[z.ZodType, unknown, string]>([
  [body, {}, "expected text, found none"],
  [body, { reason: 3 }, "expected text, found a number"],
  [body, null, "expected an object, found null"],
  [alertIdSchema, "x", "expected an id: alt_ and 26 small letters and digits"],
  [instantSchema, "noon", "expected an instant such as 2026-01-31T12:00:00.000Z"],
  [z.string().regex(/^[a-z]+$/), "1", "expected a text that fits /^[a-z]+$/"],
  [z.string().regex(/^[1-9]$/, "expected a number"), "x", "expected a number"],
  [z.url(), "x", "Invalid URL"],
  [z.enum(["info", "warning"]), "bad", "expected one of info, warning"],
  [z.literal(true), 1, "expected true"],
  [z.strictObject({}), { a: 1, b: 2 }, "unknown: a, b"],
  [z.int(), 1.5, "expected a whole number, found one with a fraction"],
  [z.coerce.number(), "x", "expected a number, found something else"],
  [z.int().min(1), 0, "expected a number of at least 1"],
  [z.int().max(5), 9, "expected a number of at most 5"],
  [z.number().gt(0), 0, "expected a number over 0"],
  [z.number().lt(1), 1, "expected a number under 1"],
  [z.string().min(1), "", "expected a text that is not empty"],
  [z.string().max(2), "abc", "expected at most 2 characters"],
  [z.array(z.int()).min(1), [], "expected a list that is not empty, found an empty list"],
  [z.array(z.int()).max(1), [1, 2], "expected at most 1 entries"],
  [z.union([z.int(), z.string()]), null, "expected a number or text"],
  [z.union([z.object({ a: z.int() }), z.string().max(1)]), {}, "Invalid input"],
  [
    z.discriminatedUnion("k", [z.object({ k: z.literal("a") }), z.object({ k: z.literal("b") })]),
    { k: "z" },
    "expected one of a, b",
  ],
  [z.int().refine(() => false, "expected something else"), 1, "expected something else"],
])("says what was expected: %#", (schema, value, words) => {
  expect(wordsFor(schema, value)).toBe(words);
});
