import { createBatchSchema } from "@holdfast/contract";
import { validatorCompiler } from "fastify-type-provider-zod";
import { expect, it } from "vitest";
import { pageParamsSchema, refuseBody } from "./requests.ts";

/** The message for a body, and the pages that its problems name. */
function refusal(body: unknown): readonly [string, unknown] {
  const route = { schema: createBatchSchema, method: "POST", url: "/", httpPart: "body" };
  const validate = validatorCompiler(route) as (value: unknown) => { readonly error?: unknown };
  const { error } = validate(body);
  const refused = refuseBody(
    Object.assign(new Error("x"), { validation: error, validationContext: "body" }),
    body,
  );
  const problems = refused.details?.["problems"] as readonly { readonly page?: number }[];
  return [refused.message, problems.map(({ page }) => page)];
}

it("a wrong field of a page is told by the page's number, its own before its place", () => {
  const pages = Array.from({ length: 7 }, () => ({ seed: 1 as unknown }));
  pages[6] = { seed: "x" };
  expect(refusal({ pages })).toEqual([
    "page 7: body.pages.6.seed: expected a number, found text",
    [7],
  ]);
  const own = [
    { page: 40, seed: -1 },
    { page: 41, sed: 3 },
  ];
  expect(refusal({ pages: own })).toEqual([
    "page 40: body.pages.0.seed: expected a number of at least 0 (and 1 more)",
    [40, 41],
  ]);
  expect(refusal({ pages: [3] })[0]).toMatch(/^page 1: body\.pages\.0: /);
});

it("what is wrong with the book itself names no page", () => {
  expect(refusal({ pages: {} })).toEqual([
    "body.pages: expected a list, found an object",
    [undefined],
  ]);
  expect(refusal(null)[0]).toBe("body: expected an object, found null");
});

it("what is no page number is refused in words", () => {
  const [issue] = pageParamsSchema.safeParse({ ref: "1", page: "abc" }).error?.issues ?? [];
  expect(issue?.message).toBe(
    `expected the number of a page, from 1, such as 7; found "abc". GET /api/v1/batches/{ref}/pages lists a book's pages`,
  );
});
