import { Readable } from "node:stream";
import { MAX_PAGES, PAGE_STATUSES } from "@holdfast/contract";
import type { Clock } from "@holdfast/runtime";
import type { FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { ALLOWED, type Caller, type Role } from "../access/model.ts";
import type { BlobKeeper } from "../files/blob-service.ts";
import { contentDisposition } from "../files/download-headers.ts";
import { textAnswer } from "../platform/http/openapi.ts";
import { streamArchive } from "./archive.ts";
import type { BookReader } from "./book-files.ts";
import { contactSheet, contactSheetPolicy } from "./contact-sheet.ts";
import { batchParamsSchema } from "./requests.ts";

/** What the routes of a book's files need. */
export interface BookFileRoutesDeps {
  readonly identify: (request: FastifyRequest, roles: readonly Role[]) => Promise<Caller>;
  readonly books: BookReader;
  readonly blobs: Pick<BlobKeeper, "open" | "assertUsable">;
  readonly clock: Clock;
}

/** Pages of a contact sheet when nothing is asked. */
const DEFAULT_SHEET_PAGES = 200;

const sheetQuerySchema = z.strictObject({
  status: z.enum(PAGE_STATUSES).optional(),
  after: z
    .string()
    .regex(/^[0-9]{1,7}$/, "expected a page number, such as 200")
    .optional()
    .meta({ description: "Pages above this number." }),
  limit: z
    .string()
    .regex(/^(?:[1-9][0-9]{0,3}|10000)$/, `expected how many pages, 1 to ${MAX_PAGES}, such as 200`)
    .optional()
    .meta({
      description: `Pages on the sheet, 1 to ${MAX_PAGES}. Default ${DEFAULT_SHEET_PAGES}.`,
    }),
  standalone: z.enum(["true", "false"]).optional().meta({
    description: "To be kept as a file: nothing on it leads to other parts of the book.",
  }),
});

/** `GET /api/v1/batches/{ref}/archive` and `…/contact-sheet`. */
export const bookFileRoutes: FastifyPluginAsyncZod<BookFileRoutesDeps> = async (app, deps) => {
  const { identify, books, blobs, clock } = deps;
  const tags = ["batches"];

  app.get(
    "/api/v1/batches/:ref/archive",
    {
      schema: {
        tags,
        summary: "What is done of a book, as a zip",
        description:
          "`0001.png`, `0001-2.png`, …, by page; `pages.json` with all pages as they are; `MISSING.txt` names files whose bytes are no longer in the store. Streamed, so of no announced size: a zip that is cut short has no directory at its end.",
        params: batchParamsSchema,
        response: {
          200: { description: "The zip.", content: { "application/zip": { schema: z.any() } } },
        },
      },
    },
    async (request, reply) => {
      const caller = await identify(request, ALLOWED.use);
      const { batch, largestPage } = await books.find(caller, request.params.ref);
      blobs.assertUsable();
      void reply
        .header("content-type", "application/zip")
        .header(
          "content-disposition",
          contentDisposition(`book-${batch.number}.zip`, "application/zip"),
        )
        .header("cache-control", "private, no-store");
      // What a HEAD is answered with is read to its end, too.
      if (request.method === "HEAD") return reply.send(Readable.from([]));
      return reply.send(
        streamArchive({
          batch,
          largestPage,
          pages: (id, choice) => books.pages(id, choice),
          open: (sha256, range) => blobs.open(sha256, range),
          now: clock.now(),
        }),
      );
    },
  );

  app.get(
    "/api/v1/batches/:ref/contact-sheet",
    {
      schema: {
        tags,
        summary: "A book to look over, as a page of HTML",
        description:
          "Each page with its state, first words of its prompt, what recovery changed, latest error and pictures. No script; pictures are those of `GET /api/v1/outputs/{id}/content`.",
        params: batchParamsSchema,
        querystring: sheetQuerySchema,
        response: { 200: textAnswer("text/html", "The sheet.") },
      },
    },
    async (request, reply) => {
      const caller = await identify(request, ALLOWED.use);
      const { batch } = await books.find(caller, request.params.ref);
      const {
        status,
        after = "0",
        limit = String(DEFAULT_SHEET_PAGES),
        standalone,
      } = request.query;
      const gone = new AbortController();
      reply.raw.once("close", () => gone.abort());
      const sheet = contactSheet(batch, (id, choice) => books.pages(id, choice), {
        status,
        after: Number(after),
        limit: Number(limit),
        isStandalone: standalone === "true",
        signal: gone.signal,
      });
      const body = Readable.from(request.method === "HEAD" ? [] : sheet, { objectMode: false });
      void reply
        .header("content-type", "text/html; charset=utf-8")
        .header("content-security-policy", contactSheetPolicy())
        .header("cache-control", "private, no-store");
      // The schema tells readers of the document that it is a text; it goes out in pieces.
      return reply.send(body as unknown as string);
    },
  );
};
