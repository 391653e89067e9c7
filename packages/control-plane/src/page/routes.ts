import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { HttpApp } from "../platform/http/server.ts";

const SCRIPT = "text/javascript; charset=utf-8";

/** The page's files and their types. Nothing else is served from the folder. */
const FILES = {
  "/": { file: "index.html", type: "text/html; charset=utf-8" },
  "/assets/live.js": { file: "live.js", type: SCRIPT },
  "/assets/api.js": { file: "api.js", type: SCRIPT },
  "/assets/elements.js": { file: "elements.js", type: SCRIPT },
  "/assets/tables.js": { file: "tables.js", type: SCRIPT },
  "/assets/job.js": { file: "job.js", type: SCRIPT },
  "/assets/live.css": { file: "live.css", type: "text/css; charset=utf-8" },
  "/assets/icon.svg": { file: "icon.svg", type: "image/svg+xml" },
} as const;

/** `packages/control-plane/assets`, from `src/page` and from `dist/page` alike. */
const ASSETS_FOLDER = fileURLToPath(new URL("../../assets/", import.meta.url));

/**
 * Only what this server sends may run or load; nothing may frame it. `blob:` is for pictures that
 * were fetched with a key, which an `<img>` cannot send.
 */
const PAGE_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/** Serves the plain live page. It holds no data: what it shows it asks the API for, with a key. */
export async function addPageRoutes(app: HttpApp): Promise<void> {
  for (const [path, { file, type }] of Object.entries(FILES)) {
    const body = await readFile(join(ASSETS_FOLDER, file));
    app.get(path, { schema: { hide: true } }, (_request, reply) =>
      reply
        .header("content-type", type)
        .header("content-security-policy", PAGE_POLICY)
        .header("cache-control", "no-cache")
        .send(body),
    );
  }
}
