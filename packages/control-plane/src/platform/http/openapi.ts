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
    error: z.object({
      code: z.string(),
      message: z.string(),
      details: z.record(z.string(), z.unknown()).optional(),
      requestId: z.string(),
    }),
  })
  .meta({ description: "What was expected, what was found, what to do; see docs/errors.md." });

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
          bearer: { type: "http", scheme: "bearer", description: "An API key." },
        },
      },
    },
    transform: withErrors,
  });
  await app.register(swaggerUi, {
    routePrefix: DOCS_PATH,
    uiConfig: { docExpansion: "list", deepLinking: true, validatorUrl: null },
    staticCSP: true,
  });
  app.get(OPENAPI_PATH, { schema: { hide: true } }, () => app.swagger());
}
