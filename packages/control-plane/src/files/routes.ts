import {
  blobStoredSchema,
  HoldfastError,
  outputIdSchema,
  outputSchema,
  pageQuerySchema,
  sha256Schema,
  type OutputView,
} from "@holdfast/contract";
import type { FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { ALLOWED, ownerScope } from "../access/model.ts";
import { readPage, toInstant } from "../access/pages.ts";
import type { Access } from "../access/service.ts";
import { invalidRequest } from "../platform/http/http-error.ts";
import { FILE_ANSWERS } from "../platform/http/openapi.ts";
import { unavailable, type BlobKeeper } from "./blob-service.ts";
import { sendBlob } from "./download.ts";
import type { OutputFile, StoredFile } from "./model.ts";
import type { FileService, Upload } from "./service.ts";
import { readJsonBody, uploadBody } from "./upload-body.ts";
import {
  fileIdSchema,
  filePageSchema,
  fileSchema,
  importFileSchema,
  uploadQuerySchema,
  type FileView,
} from "./wire.ts";

/** What the routes of files, outputs and blobs need. */
export interface FileRouteOptions {
  readonly access: Access;
  readonly files: FileService;
  readonly blobs: BlobKeeper;
  readonly maxFileBytes: number;
}

const RANGES = "Takes `Range` and `If-None-Match`; the ETag is the SHA-256.";
const MAX_JSON_BYTES = 16 * 1024;
const fileParams = z.object({ id: fileIdSchema });
const outputParams = z.object({ id: outputIdSchema });
const blobParams = z.object({ sha256: sha256Schema });

/** `/api/v1/files`, `/api/v1/outputs` and `/agent/v1/blobs`. */
export const fileRoutes: FastifyPluginAsyncZod<FileRouteOptions> = async (app, options) => {
  // Bodies are bytes of any type, handed on as they come and never held as a whole. The parsers are
  // this plugin's own: Fastify keeps them from other routes.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
  await app.register(uploadRoutes, options);
  await app.register(fileReadRoutes, options);
  await app.register(outputRoutes, options);
  await app.register(blobRoutes, options);
};

const uploadRoutes: FastifyPluginAsyncZod<FileRouteOptions> = async (app, options) => {
  const { access, files, maxFileBytes } = options;
  const take = (request: FastifyRequest, name: string, announcedSha256: string | undefined) => {
    const upload: Upload = {
      name,
      mediaType: request.headers["content-type"],
      body: uploadBody(request),
      announcedSha256,
    };
    return upload;
  };

  app.post(
    "/api/v1/files",
    {
      bodyLimit: maxFileBytes,
      schema: {
        tags: ["files"],
        summary: "Upload an input file",
        description: [
          "The body is the file itself, of any content type:",
          '`curl --data-binary @cat.png -H "content-type: image/png" ".../api/v1/files?name=cat.png"`.',
          "Without `name` in the query the body is JSON, `{url, name?}`, and the file is fetched from that URL.",
          "A file of the same name is replaced; jobs that were submitted before keep the bytes they had.",
        ].join(" "),
        consumes: ["application/octet-stream", "application/json"],
        querystring: uploadQuerySchema,
        response: { 201: fileSchema },
      },
    },
    async (request, reply) => {
      const caller = await access.identify(request, ALLOWED.use);
      const { name, sha256 } = request.query;
      if (name !== undefined) {
        const saved = await files.save(caller.id, take(request, name, sha256));
        return reply.code(201).send(toView(saved));
      }
      const type = request.headers["content-type"] ?? "";
      if (!type.startsWith("application/json")) {
        throw new HoldfastError("invalid_request", "give the file's name: ?name=cat.png");
      }
      const parsed = importFileSchema.safeParse(await readJsonBody(request, MAX_JSON_BYTES));
      if (!parsed.success) {
        throw invalidRequest(
          parsed.error.issues.map((issue) => ({
            field: ["body", ...issue.path.map(String)].join("."),
            message: issue.message,
          })),
        );
      }
      const saved = await files.saveFromUrl(caller.id, parsed.data.url, parsed.data.name);
      return reply.code(201).send(toView(saved));
    },
  );

  app.put(
    "/api/v1/files/*",
    {
      bodyLimit: maxFileBytes,
      schema: {
        tags: ["files"],
        summary: "Upload an input file under the name in the path",
        description: "`curl -T cat.png .../api/v1/files/pets/cat.png`",
        consumes: ["application/octet-stream"],
        params: z.object({ "*": z.string().max(1024) }),
        querystring: uploadQuerySchema.omit({ name: true }),
        response: { 200: fileSchema },
      },
    },
    async (request) => {
      const caller = await access.identify(request, ALLOWED.use);
      const upload = take(request, request.params["*"], request.query.sha256);
      return toView(await files.save(caller.id, upload));
    },
  );
};

const fileReadRoutes: FastifyPluginAsyncZod<FileRouteOptions> = async (app, options) => {
  const { access, files, blobs } = options;
  const tags = ["files"];

  app.get(
    "/api/v1/files",
    {
      schema: {
        tags,
        summary: "List input files, newest first",
        querystring: pageQuerySchema,
        response: { 200: filePageSchema },
      },
    },
    async (request) => {
      const caller = await access.identify(request, ALLOWED.use);
      const page = await files.list(ownerScope(caller), readPage(request.query));
      return { items: page.items.map(toView), next: page.next };
    },
  );

  app.get(
    "/api/v1/files/:id",
    {
      schema: {
        tags,
        summary: "One input file",
        params: fileParams,
        response: { 200: fileSchema },
      },
    },
    async (request) => {
      const caller = await access.identify(request, ALLOWED.use);
      return toView(await files.get(request.params.id, ownerScope(caller)));
    },
  );

  app.get(
    "/api/v1/files/:id/content",
    {
      schema: {
        tags,
        summary: "The bytes of an input file",
        description: RANGES,
        params: fileParams,
        response: FILE_ANSWERS,
      },
    },
    async (request, reply) => {
      const caller = await access.identify(request, ALLOWED.use);
      const file = await files.get(request.params.id, ownerScope(caller));
      return sendBlob(request, reply, blobs, file);
    },
  );

  app.delete(
    "/api/v1/files/:id",
    {
      schema: {
        tags,
        summary: "Forget an input file",
        description: "Jobs that were submitted before keep the bytes they had.",
        params: fileParams,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      const caller = await access.identify(request, ALLOWED.use);
      await files.remove(request.params.id, ownerScope(caller));
      return reply.code(204).send(null);
    },
  );
};

const outputRoutes: FastifyPluginAsyncZod<FileRouteOptions> = async (app, options) => {
  const { access, files, blobs } = options;
  const tags = ["outputs"];
  const find = async (request: FastifyRequest, id: string): Promise<OutputFile> => {
    const caller = await access.identify(request, ALLOWED.use);
    return files.output(id, ownerScope(caller));
  };

  app.get(
    "/api/v1/outputs/:id",
    {
      schema: {
        tags,
        summary: "One output of a job",
        params: outputParams,
        response: { 200: outputSchema },
      },
    },
    async (request) => toOutputView(await find(request, request.params.id)),
  );

  app.get(
    "/api/v1/outputs/:id/content",
    {
      schema: {
        tags,
        summary: "The bytes of an output",
        description: RANGES,
        params: outputParams,
        response: FILE_ANSWERS,
      },
    },
    async (request, reply) =>
      sendBlob(request, reply, blobs, await find(request, request.params.id)),
  );
};

const blobRoutes: FastifyPluginAsyncZod<FileRouteOptions> = async (app, options) => {
  const { access, blobs, maxFileBytes } = options;
  const tags = ["agent"];

  app.put(
    "/agent/v1/blobs/:sha256",
    {
      bodyLimit: maxFileBytes,
      schema: {
        tags,
        summary: "Store bytes under their SHA-256",
        description: "Answered only after the store confirmed size and hash.",
        params: blobParams,
        response: { 200: blobStoredSchema },
      },
    },
    async (request) => {
      await access.identify(request, ALLOWED.serve);
      const length = request.headers["content-length"];
      if (length === undefined || !/^\d{1,15}$/.test(length)) {
        throw new HoldfastError("invalid_request", "Content-Length is needed");
      }
      return blobs.putOnce({
        sha256: request.params.sha256,
        sizeBytes: Number(length),
        body: uploadBody(request),
      });
    },
  );

  app.get(
    "/agent/v1/blobs/:sha256",
    {
      schema: {
        tags,
        summary: "The bytes of a SHA-256",
        description: RANGES,
        params: blobParams,
        response: FILE_ANSWERS,
      },
    },
    async (request, reply) => {
      await access.identify(request, ALLOWED.serve);
      const { sha256 } = request.params;
      const found = await blobs.has(sha256);
      if (found.kind === "unavailable") throw unavailable(found);
      if (found.kind === "missing") throw new HoldfastError("not_found", "no such bytes");
      const { sizeBytes } = found;
      const blob = { sha256, sizeBytes, name: sha256, mediaType: "application/octet-stream" };
      return sendBlob(request, reply, blobs, blob);
    },
  );
};

function toView(file: StoredFile): FileView {
  return {
    id: file.id,
    name: file.name,
    owner: file.owner,
    sha256: file.sha256,
    sizeBytes: file.sizeBytes,
    mediaType: file.mediaType,
    url: `/api/v1/files/${file.id}/content`,
    createdAt: toInstant(file.createdAt),
  };
}

function toOutputView(output: OutputFile): OutputView {
  return {
    id: output.id,
    jobId: output.jobId,
    nodeId: output.nodeId,
    ordinal: output.ordinal,
    kind: output.kind,
    name: output.name,
    mediaType: output.mediaType,
    sizeBytes: output.sizeBytes,
    sha256: output.sha256,
    temporary: output.temporary,
    url: `/api/v1/outputs/${output.id}/content`,
    text: output.text,
  };
}
