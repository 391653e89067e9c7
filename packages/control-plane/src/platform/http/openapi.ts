import swagger from "@fastify/swagger";
import swaggerUi from "@fastify/swagger-ui";
import { jsonSchemaTransform } from "fastify-type-provider-zod";
import type { HttpApp } from "./server.ts";

/** What the document says about the API as a whole. */
export interface OpenApiOptions {
  readonly title: string;
  readonly description: string;
  readonly version: string;
  readonly tags?: readonly { readonly name: string; readonly description: string }[];
}

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
    transform: jsonSchemaTransform,
  });
  await app.register(swaggerUi, {
    routePrefix: DOCS_PATH,
    uiConfig: { docExpansion: "list", deepLinking: true, validatorUrl: null },
    staticCSP: true,
  });
  app.get(OPENAPI_PATH, { schema: { hide: true } }, () => app.swagger());
}
