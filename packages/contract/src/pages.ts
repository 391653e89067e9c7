import { z } from "zod";

/** Most rows a page may hold, and how many it holds when nothing is asked. */
export const MAX_PAGE_SIZE = 500;
export const DEFAULT_PAGE_SIZE = 50;

/** Query fields that every list takes. Numbers come as text in a query. */
export const pageQuerySchema = z.strictObject({
  limit: z
    .string()
    .regex(/^[1-9][0-9]{0,2}$/, `expected how many, 1 to ${MAX_PAGE_SIZE}, such as 100`)
    .optional()
    .meta({ description: `Rows a page, 1 to ${MAX_PAGE_SIZE}. Default ${DEFAULT_PAGE_SIZE}.` }),
  cursor: z.string().max(200).optional().meta({
    description: "`next` of the page before. Opaque.",
  }),
});

/** A keyset page: `next` is null on the last one. */
export function pageSchema<T extends z.ZodType>(item: T) {
  return z.object({ items: z.array(item), next: z.string().nullable() });
}
