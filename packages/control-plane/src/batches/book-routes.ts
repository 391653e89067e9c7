import { MAX_ID_LENGTH, regenerateBookPageSchema, regeneratedBookSchema } from "@holdfast/contract";
import { z } from "zod";
import { ALLOWED } from "../access/model.ts";
import type { HttpApp } from "../platform/http/server.ts";
import { pageParamsSchema, type BatchRoutesDeps } from "./requests.ts";

const tags = ["books"];
const bookParamsSchema = z.object({
  book_id: z.string().min(1).max(MAX_ID_LENGTH).meta({
    description: "The id or the number of a batch.",
  }),
});
const bookPageParamsSchema = bookParamsSchema.extend(pageParamsSchema.pick({ page: true }).shape);

/** `/books` and `/admin/books`: the routes that book applications know, under their own names. */
export function addBookRoutes(app: HttpApp, { identify, batches }: BatchRoutesDeps): void {
  app.post(
    "/books/:book_id/regenerate",
    {
      schema: {
        tags,
        summary: "Render the failed pages of a book of one's own anew",
        params: bookParamsSchema,
        response: { 200: regeneratedBookSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.use);
      const { book_id } = request.params;
      const { pages } = await batches.regenerate(caller, book_id, {});
      return { success: true as const, book_id, regenerated: [...pages] };
    },
  );
  app.post(
    "/admin/books/:book_id/regenerate-page/:page",
    {
      schema: {
        tags,
        summary: "Render one page of any book anew, with other values where any are given",
        params: bookPageParamsSchema,
        body: regenerateBookPageSchema.nullish(),
        response: { 200: regeneratedBookSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.operate);
      const { book_id, page } = request.params;
      const { prompt, seed, overrides } = request.body ?? {};
      const { pages } = await batches.regeneratePage(caller, book_id, Number(page), {
        prompt,
        seed,
        set: overrides,
      });
      return { success: true as const, book_id, regenerated: [...pages] };
    },
  );
}
