import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import { jsonSchemaTransform } from "fastify-type-provider-zod";
import { z } from "zod";
import type { HttpApp } from "./server.ts";

/** What the document says about the API as a whole. */
export interface OpenApiOptions {
  readonly title: string;
  readonly description: string;
  readonly version: string;
  readonly tags?: readonly { readonly name: string; readonly description: string }[];
}

/** The one shape of every error answer. */
const errorAnswerSchema = z
  .object({
    success: z.literal(false).optional(),
    error: z.object({
      code: z.string(),
      message: z.string(),
      details: z.record(z.string(), z.unknown()).optional(),
      requestId: z.string(),
    }),
  })
  .meta({ description: "What was expected, what was found, what to do; see docs/errors.md." });

/** The answer of a route that sends text of its own, for its `response`. */
export function textAnswer<T extends string>(mediaType: T, description: string) {
  const content = { [mediaType]: { schema: z.string() } } as Record<T, { schema: z.ZodString }>;
  return { description, content };
}

/** The answers of a route that hands out a file: bytes of any type, whole or a part of them. */
export const FILE_ANSWERS = {
  200: { description: "The bytes.", content: { "*/*": { schema: z.any() } } },
  206: { description: "The part that `Range` asks for.", content: { "*/*": { schema: z.any() } } },
  304: z.null().meta({ description: "The bytes are those that `If-None-Match` names." }),
} as const;

/** Adds the error answers, which every route has, to the routes' own. */
const withErrors: typeof jsonSchemaTransform = (given) => {
  const { schema } = given;
  if (schema === undefined || (schema as { hide?: boolean }).hide === true) {
    return jsonSchemaTransform(given);
  }
  const own = (schema as { response?: object }).response ?? {};
  const response = { "4XX": errorAnswerSchema, "5XX": errorAnswerSchema, ...own };
  return jsonSchemaTransform({ ...given, schema: { ...schema, response } });
};

/**
 * What the page may load: this server's files alone. Its scripts put styles into the document; nothing
 * of it can be sent elsewhere. Not the policy that swagger-ui comes with: that one turns http into
 * https, which a server that is reached over plain http does not speak, and lets other hosts in.
 */
const DOCS_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** `packages/control-plane/assets`, from `src/platform/http` and from `dist/platform/http` alike. */
const ASSETS_FOLDER = fileURLToPath(new URL("../../../assets/", import.meta.url));

/** Where the browsable page is. */
export const DOCS_PATH = "/api/docs";
/** Where the document is. */
export const OPENAPI_PATH = "/openapi.json";

/**
 * Describes every route registered after this one, from its schemas, as OpenAPI 3.1, with a page to
 * browse it. The page loads nothing from other hosts. Register before the features.
 */
export async function registerOpenApi(app: HttpApp, options: OpenApiOptions): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.0",
      info: { title: options.title, description: options.description, version: options.version },
      tags: (options.tags ?? []).map((tag) => ({ ...tag })),
      components: {
        securitySchemes: {
          bearer: { type: "http", scheme: "bearer", description: "An API key: hf_…" },
        },
      },
      // Either a key, or none: while no key was ever made, this machine needs none.
      security: [{ bearer: [] }, {}],
    },
    transform: withErrors,
  });
  await app.register(swaggerUi, {
    routePrefix: DOCS_PATH,
    uiConfig: {
      layout: "BaseLayout",
      docExpansion: "list",
      deepLinking: true,
      filter: true,
      persistAuthorization: false,
      validatorUrl: null,
    },
    theme: {
      title: `${options.title} API`,
      js: [await asset("docs.js")],
      css: [await asset("docs.css")],
      favicon: [{ ...(await asset("icon.svg")), rel: "icon", type: "image/svg+xml", sizes: "any" }],
    },
    staticCSP: DOCS_POLICY,
  });
  app.get(OPENAPI_PATH, { schema: { hide: true } }, () => app.swagger());
}

async function asset(filename: string): Promise<{ filename: string; content: string }> {
  return { filename, content: await readFile(join(ASSETS_FOLDER, filename), "utf8") };
}
