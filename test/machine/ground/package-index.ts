/** A package index (PEP 503 and 691) on loopback. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createHash } from "node:crypto";
import { closeServer, listenOnLoopback } from "./loopback.ts";
import type { Wheel } from "./wheel.ts";

const JSON_TYPE = "application/vnd.pypi.simple.v1+json";

/** A running index. */
export interface PackageIndex {
  /** For `--index-url`. */
  readonly url: string;
  /** A flat page with every wheel, for `--find-links`. */
  readonly linksUrl: string;
  add(...wheels: readonly Wheel[]): void;
  /** Takes every version of a package away. */
  remove(name: string): void;
  /** Every answer is this status instead; null ends that. */
  fail(status: number | null): void;
  /** Names of the wheels that were fetched, in order. */
  fetched(): readonly string[];
  close(): Promise<void>;
}

/** Starts one that serves the given wheels. */
export async function startPackageIndex(wheels: readonly Wheel[] = []): Promise<PackageIndex> {
  const shelf = new Map<string, Wheel>(wheels.map((wheel) => [wheel.fileName, wheel]));
  const fetched: string[] = [];
  let failure: number | null = null;
  const server: Server = createServer((request, response) => {
    if (failure === null) serve(shelf, fetched, request, response);
    else response.writeHead(failure).end("the index is out of order, as the test wants it");
  });
  const base = await listenOnLoopback(server);
  return {
    url: `${base}/simple/`,
    linksUrl: `${base}/links/`,
    add: (...more) => {
      for (const wheel of more) shelf.set(wheel.fileName, wheel);
    },
    remove: (name) => {
      for (const wheel of shelf.values()) if (wheel.name === name) shelf.delete(wheel.fileName);
    },
    fail: (status) => {
      failure = status;
    },
    fetched: () => [...fetched],
    close: () => closeServer(server),
  };
}

function serve(
  shelf: ReadonlyMap<string, Wheel>,
  fetched: string[],
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const path = new URL(request.url ?? "/", "http://index").pathname;
  const [, area = "", name = ""] = path.split("/");
  const all = [...shelf.values()];
  const wantsJson = request.headers.accept?.includes(JSON_TYPE) === true;
  if (area === "links") return page(response, all);
  if (area === "files") return file(shelf, fetched, name, response);
  if (area !== "simple") return missing(response);
  if (name === "") {
    const names = [...new Set(all.map((wheel) => wheel.name))];
    const links = names.map((each) => `<a href="/simple/${each}/">${each}</a>`);
    response.setHeader("content-type", "text/html");
    response.end(links.join("\n"));
    return;
  }
  const wheels = all.filter((wheel) => wheel.name === name);
  if (wheels.length === 0) return missing(response);
  return wantsJson ? listing(response, name, wheels) : page(response, wheels);
}

function missing(response: ServerResponse): void {
  response.writeHead(404).end("no such package");
}

function metadataHash(wheel: Wheel): string {
  return createHash("sha256").update(wheel.metadata).digest("hex");
}

function page(response: ServerResponse, wheels: readonly Wheel[]): void {
  const links = wheels.map((wheel) => {
    const python = wheel.requiresPython?.replaceAll(">", "&gt;").replaceAll("<", "&lt;");
    const needs = python === undefined ? "" : ` data-requires-python="${python}"`;
    const about = ` data-core-metadata="sha256=${metadataHash(wheel)}"`;
    const href = `/files/${wheel.fileName}#sha256=${wheel.sha256}`;
    return `<a href="${href}"${needs}${about}>${wheel.fileName}</a><br>`;
  });
  response.setHeader("content-type", "text/html");
  response.end(`<!DOCTYPE html><html><body>\n${links.join("\n")}\n</body></html>`);
}

function listing(response: ServerResponse, name: string, wheels: readonly Wheel[]): void {
  const files = wheels.map((wheel) => ({
    filename: wheel.fileName,
    url: `/files/${wheel.fileName}`,
    hashes: { sha256: wheel.sha256 },
    size: wheel.content.length,
    "core-metadata": { sha256: metadataHash(wheel) },
    ...(wheel.requiresPython === undefined ? {} : { "requires-python": wheel.requiresPython }),
  }));
  const versions = wheels.map((wheel) => wheel.version);
  response.setHeader("content-type", JSON_TYPE);
  response.end(JSON.stringify({ meta: { "api-version": "1.1" }, name, versions, files }));
}

function file(
  shelf: ReadonlyMap<string, Wheel>,
  fetched: string[],
  name: string,
  response: ServerResponse,
): void {
  const isMetadata = name.endsWith(".metadata");
  const wheel = shelf.get(isMetadata ? name.slice(0, -".metadata".length) : name);
  if (wheel === undefined) return missing(response);
  if (!isMetadata) fetched.push(name);
  response.setHeader("content-type", "application/octet-stream");
  response.end(isMetadata ? wheel.metadata : wheel.content);
}
