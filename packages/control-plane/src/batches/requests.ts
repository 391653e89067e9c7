import { HoldfastError, MAX_ID_LENGTH } from "@holdfast/contract";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import type { Caller, Role } from "../access/model.ts";
import { toHoldfastError } from "../platform/http/http-error.ts";
import type { BatchService } from "./service.ts";

/** What the routes of batches need. */
export interface BatchRoutesDeps {
  readonly identify: (request: FastifyRequest, roles: readonly Role[]) => Promise<Caller>;
  readonly batches: BatchService;
}

/** Names one batch: its id, or its number. */
export const batchParamsSchema = z.object({
  ref: z
    .string()
    .min(1)
    .max(MAX_ID_LENGTH)
    .meta({ description: "`bat_…`, or the batch's number." }),
});
/** Names one page of a batch. */
export const pageParamsSchema = batchParamsSchema.extend({
  page: z
    .string()
    .regex(/^[1-9][0-9]{0,6}$/, {
      error: ({ input }) =>
        `expected the number of a page, from 1, such as 7; found ${JSON.stringify(input)}. GET /api/v1/batches/{ref}/pages lists a book's pages`,
    })
    .meta({ description: "Its number, from 1." }),
});

/**
 * The error for a body that makes no book. A field of a page (`body.pages.6.seed`), or of a row of its
 * table, is told by the page's number, as the entries of a list are counted from 0.
 */
export function refuseBody(error: unknown, body: unknown): HoldfastError {
  const refused = toHoldfastError(error);
  const problems = refused.details?.["problems"];
  if (refused.code !== "invalid_request" || !Array.isArray(problems)) return refused;
  const named = (problems as readonly { readonly field: string; readonly message: string }[]).map(
    (problem) => ({ ...problem, ...pageOf(problem.field, body) }),
  );
  const page = named[0]?.page;
  const message = page === undefined ? refused.message : `page ${page}: ${refused.message}`;
  return new HoldfastError(refused.code, message, {
    details: { ...refused.details, problems: named },
    cause: error,
  });
}

function pageOf(field: string, body: unknown): { readonly page?: number } {
  const match = /^body\.(pages|table\.rows)\.(\d{1,6})(?:\.|$)/.exec(field);
  if (match?.[2] === undefined) return {};
  const place = Number(match[2]);
  const list = memberOf(body, "pages");
  const own = match[1] === "pages" && Array.isArray(list) ? memberOf(list[place], "page") : null;
  return { page: Number.isInteger(own) ? (own as number) : place + 1 };
}

function memberOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;
}
