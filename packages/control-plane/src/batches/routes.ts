import {
  batchPageSchema,
  batchSchema,
  bookPageDetailSchema,
  bookPageListSchema,
  changeBatchSchema,
  createBatchSchema,
  createdBatchSchema,
  HoldfastError,
  listBatchesQuerySchema,
  listPagesQuerySchema,
  regenerateBatchSchema,
  regeneratedSchema,
  regeneratePageSchema,
  type BatchView,
} from "@holdfast/contract";
import { z } from "zod";
import { ALLOWED } from "../access/model.ts";
import { readPage } from "../access/pages.ts";
import { MAX_IDEMPOTENCY_KEY_LENGTH } from "../jobs/model.ts";
import { readIdempotencyKey, readLimit } from "../jobs/requests.ts";
import type { HttpApp } from "../platform/http/server.ts";
import { addBookRoutes } from "./book-routes.ts";
import {
  batchParamsSchema,
  pageParamsSchema,
  refuseBody,
  type BatchRoutesDeps,
} from "./requests.ts";

const tags = ["batches"];

const createHeadersSchema = z.looseObject({
  "idempotency-key": z
    .string()
    .optional()
    .meta({
      description: `Any text of yours, at most ${MAX_IDEMPOTENCY_KEY_LENGTH} characters: the same key with the same body gives the same batch, as long as it is there.`,
    }),
});
const pagesCursorSchema = /^[1-9][0-9]{0,6}$/;

/** `/api/v1/batches`, and the two routes of books beside it. */
export function addBatchRoutes(app: HttpApp, deps: BatchRoutesDeps): void {
  addCreateRoute(app, deps);
  addReadRoutes(app, deps);
  addPageRoutes(app, deps);
  addChangeRoutes(app, deps);
  addActionRoutes(app, deps);
  addRegenerateRoutes(app, deps);
  addBookRoutes(app, deps);
}

function addCreateRoute(app: HttpApp, { identify, batches }: BatchRoutesDeps): void {
  app.post(
    "/api/v1/batches",
    {
      // Looked at below, where the body is at hand: people count pages from 1.
      attachValidation: true,
      schema: {
        tags,
        summary: "Make a batch: a book of pages, rendered together",
        description:
          "Takes all pages or none, and makes no job yet: pages become jobs as there is room. A page of which no job can be made is taken, tried twice and flagged. 201 when everything is on disk; 200 when the Idempotency-Key was used before with this body.",
        headers: createHeadersSchema,
        body: createBatchSchema,
        response: { 200: createdBatchSchema, 201: createdBatchSchema },
      },
    },
    async (request, reply) => {
      const caller = await identify(request, ALLOWED.use);
      if (request.validationError !== undefined) {
        throw refuseBody(request.validationError, request.body);
      }
      const key = readIdempotencyKey(request.headers["idempotency-key"]);
      const { batch, created, warnings } = await batches.create(caller, request.body, key);
      void reply.code(created ? 201 : 200).header("location", `/api/v1/batches/${batch.id}`);
      return { batch, created, warnings: [...warnings] };
    },
  );
}

function addReadRoutes(app: HttpApp, { identify, batches }: BatchRoutesDeps): void {
  app.get(
    "/api/v1/batches",
    {
      schema: {
        tags,
        summary: "List batches, newest first",
        querystring: listBatchesQuerySchema,
        response: { 200: batchPageSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.use);
      const { status, name, ...page } = request.query;
      const { items, next } = await batches.list(caller, { status, name }, readPage(page));
      return { items: [...items], next };
    },
  );
  app.get(
    "/api/v1/batches/:ref",
    {
      schema: {
        tags,
        summary: "One batch: its pages by state, and how far it is",
        params: batchParamsSchema,
        response: { 200: batchSchema },
      },
    },
    async (request) => await batches.get(await identify(request, ALLOWED.use), request.params.ref),
  );
}

function addPageRoutes(app: HttpApp, { identify, batches }: BatchRoutesDeps): void {
  app.get(
    "/api/v1/batches/:ref/pages",
    {
      schema: {
        tags,
        summary: "Pages of a batch, in order",
        params: batchParamsSchema,
        querystring: listPagesQuerySchema,
        response: { 200: bookPageListSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.use);
      const { status, limit, cursor } = request.query;
      const { items, next } = await batches.pages(caller, request.params.ref, {
        after: readCursor(cursor),
        limit: readLimit(limit),
        status,
      });
      return { items: [...items], next: next === null ? null : String(next) };
    },
  );
  app.get(
    "/api/v1/batches/:ref/pages/:page",
    {
      schema: {
        tags,
        summary: "One page, with its versions and what each gave",
        params: pageParamsSchema,
        response: { 200: bookPageDetailSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.use);
      return await batches.page(caller, request.params.ref, Number(request.params.page));
    },
  );
}

/** Where a list of pages goes on: after this page. */
function readCursor(text: string | undefined): number {
  if (text === undefined) return 0;
  if (pagesCursorSchema.test(text)) return Number(text);
  throw new HoldfastError(
    "invalid_cursor",
    "the cursor is not one that a page of this list gave as next; start without a cursor",
  );
}

function addChangeRoutes(app: HttpApp, { identify, batches }: BatchRoutesDeps): void {
  app.patch(
    "/api/v1/batches/:ref",
    {
      schema: {
        tags,
        summary: "Change a batch's name, priority or window",
        description: "A new priority reaches its jobs that wait as well.",
        params: batchParamsSchema,
        body: changeBatchSchema,
        response: { 200: batchSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.use);
      return await batches.view(await batches.change(caller, request.params.ref, request.body));
    },
  );
  app.delete(
    "/api/v1/batches/:ref",
    {
      schema: {
        tags,
        summary: "Remove a batch that has ended",
        description: "Its jobs and their outputs stay as long as any would.",
        params: batchParamsSchema,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      await batches.remove(await identify(request, ALLOWED.use), request.params.ref);
      return reply.code(204).send(null);
    },
  );
}

function addActionRoutes(app: HttpApp, { identify, batches }: BatchRoutesDeps): void {
  const actions = [
    ["pause", "Give out no more pages; what runs goes on"],
    ["resume", "Go on with a paused batch"],
    ["cancel", "Cancel a batch: its live jobs, and every page that has not ended"],
  ] as const;
  for (const [action, summary] of actions) {
    app.post(
      `/api/v1/batches/:ref/${action}`,
      { schema: { tags, summary, params: batchParamsSchema, response: { 200: batchSchema } } },
      async (request) => {
        const caller = await identify(request, ALLOWED.use);
        return await batches.view(await batches[action](caller, request.params.ref));
      },
    );
  }
}

function addRegenerateRoutes(app: HttpApp, { identify, batches }: BatchRoutesDeps): void {
  app.post(
    "/api/v1/batches/:ref/regenerate",
    {
      schema: {
        tags,
        summary: "Render pages anew: those named, or all that need it",
        description: "Earlier versions are kept. A batch that has ended runs again.",
        params: batchParamsSchema,
        body: regenerateBatchSchema.nullish(),
        response: { 200: regeneratedSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.use);
      const { batchId, pages, warnings } = await batches.regenerate(
        caller,
        request.params.ref,
        request.body ?? {},
      );
      return toAnswer(await batches.view(batchId), pages, warnings);
    },
  );
  app.post(
    "/api/v1/batches/:ref/pages/:page/regenerate",
    {
      schema: {
        tags,
        summary: "Render one page anew, with other values where any are given",
        params: pageParamsSchema,
        body: regeneratePageSchema.nullish(),
        response: { 200: regeneratedSchema },
      },
    },
    async (request) => {
      const caller = await identify(request, ALLOWED.use);
      const { ref, page } = request.params;
      const { batchId, pages, warnings } = await batches.regeneratePage(
        caller,
        ref,
        Number(page),
        request.body ?? {},
      );
      return toAnswer(await batches.view(batchId), pages, warnings);
    },
  );
}

function toAnswer(batch: BatchView, pages: readonly number[], warnings: readonly string[]) {
  return { batch, regenerated: [...pages], warnings: [...warnings] };
}
