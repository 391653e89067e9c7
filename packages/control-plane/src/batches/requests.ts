import { MAX_ID_LENGTH } from "@holdfast/contract";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import type { Caller, Role } from "../access/model.ts";
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
    .regex(/^[1-9][0-9]{0,6}$/)
    .meta({ description: "Its number, from 1." }),
});
