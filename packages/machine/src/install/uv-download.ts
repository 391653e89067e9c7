import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { EnvHttpProxyAgent, fetch, type Response } from "undici";
import { StepFailure } from "./model.ts";
import type { HostEnvironment } from "./program-environment.ts";
import { withoutUserinfo } from "./redact.ts";
import { chooseUvWheel, parseIndexPage, type HostPlatform, type UvWheel } from "./uv-wheel.ts";

const PAGE_MAX_BYTES = 64 * 1024 ** 2;
const WHEEL_MAX_BYTES = 256 * 1024 ** 2;
const PAGE_TIMEOUT_MS = 60_000;
const WHEEL_TIMEOUT_MS = 900_000;
const DEFAULT_INDEX = "https://pypi.org/simple";
const ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.2, */*;q=0.01";

/** Where uv may come from: the manifest's own settings for packages. */
export interface UvSource {
  readonly indexUrl: string | undefined;
  readonly findLinks: readonly string[];
  readonly noIndex: boolean;
  /** Undefined: none that uv has wheels for. */
  readonly platform: HostPlatform | undefined;
  readonly hostEnvironment: HostEnvironment;
}

/** uv's wheel, whole and checked against the hash that the index names. */
export interface UvPackage {
  readonly version: string;
  readonly wheel: Uint8Array;
}

const BY_HAND = "Or install uv yourself (https://docs.astral.sh/uv) so that it is on the PATH.";

/** Fetches uv's wheel. Throws a {@link StepFailure} in words. */
export async function downloadUv(source: UvSource, signal: AbortSignal): Promise<UvPackage> {
  const { platform } = source;
  if (platform === undefined) {
    throw new StepFailure(
      `uv is not installed, and has no wheel for ${process.platform} ${process.arch}`,
      "Install uv yourself (https://docs.astral.sh/uv) so that it is on the PATH.",
    );
  }
  const local = await fromFolders(source, platform);
  if (local !== undefined) return local;
  if (source.noIndex) {
    throw new StepFailure(
      `uv is not installed, python.noIndex is set, and none of ${JSON.stringify(source.findLinks)} has a wheel of uv for this machine`,
      `Put uv's wheel into a folder of python.findLinks. ${BY_HAND}`,
    );
  }
  const env = source.hostEnvironment;
  const agent = new EnvHttpProxyAgent({
    ...given("httpProxy", env["http_proxy"] ?? env["HTTP_PROXY"]),
    ...given("httpsProxy", env["https_proxy"] ?? env["HTTPS_PROXY"]),
    ...given("noProxy", env["no_proxy"] ?? env["NO_PROXY"]),
  });
  try {
    return await fromIndex(source, platform, agent, signal);
  } finally {
    await agent.close();
  }
}

const given = <K extends string>(key: K, value: string | undefined): { [P in K]?: string } =>
  (value === undefined || value === "" ? {} : { [key]: value }) as { [P in K]?: string };

/** A folder has no hashes to check against: what is in it is trusted as the operator's own. */
async function fromFolders(
  source: UvSource,
  platform: HostPlatform,
): Promise<UvPackage | undefined> {
  const folders = source.findLinks.filter((link) => /^(?:\/|file:)/.test(link));
  for (const folder of folders.map((link) => (link.startsWith("/") ? link : fileURLToPath(link)))) {
    const names = await readdir(folder).catch(() => []);
    const files = names.map((filename) => ({
      filename,
      url: join(folder, filename),
      sha256: "-",
      isYanked: false,
    }));
    const wheel = chooseUvWheel(files, platform);
    if (wheel !== undefined) return { version: wheel.version, wheel: await readFile(wheel.url) };
  }
  return undefined;
}

async function fromIndex(
  source: UvSource,
  platform: HostPlatform,
  agent: EnvHttpProxyAgent,
  signal: AbortSignal,
): Promise<UvPackage> {
  const index = (source.indexUrl ?? DEFAULT_INDEX).replace(/\/+$/, "");
  const ask: Ask = { index, agent, signal };
  const page = await get(ask, `${index}/uv/`, PAGE_TIMEOUT_MS);
  const body = await readBounded(page, PAGE_MAX_BYTES);
  const files = readPage(page, new TextDecoder().decode(body), `${withoutUserinfo(index)}/uv/`);
  const wheel = chooseUvWheel(files, platform);
  if (wheel === undefined) {
    const { os, machine, glibc } = platform;
    throw new StepFailure(
      `${withoutUserinfo(index)} has no wheel of uv with a SHA-256 for ${os} ${machine}${glibc === null ? " (musl)" : ` (glibc ${glibc})`}`,
      `Check python.indexUrl. ${BY_HAND}`,
    );
  }
  return { version: wheel.version, wheel: await fetchWheel(ask, wheel) };
}

function readPage(page: Response, body: string, url: string): ReturnType<typeof parseIndexPage> {
  try {
    return parseIndexPage(page.headers.get("content-type") ?? "", body, url);
  } catch (error) {
    throw new StepFailure(
      `${url} did not answer with a page of a package index: ${(error as Error).message}`,
      `Check python.indexUrl. ${BY_HAND}`,
      { cause: error },
    );
  }
}

async function fetchWheel(ask: Ask, wheel: UvWheel): Promise<Uint8Array> {
  const answer = await get(ask, wheel.url, WHEEL_TIMEOUT_MS);
  const bytes = await readBounded(answer, WHEEL_MAX_BYTES);
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  if (sha256 === wheel.sha256) return bytes;
  throw new StepFailure(
    `${wheel.filename} has the SHA-256 ${sha256}, and the index says ${wheel.sha256}`,
    "Run it again; if it stays so, somebody between here and the index changes files.",
  );
}

interface Ask {
  readonly index: string;
  readonly agent: EnvHttpProxyAgent;
  readonly signal: AbortSignal;
}

/** Asks for a URL. A user and password of the index's URL go to its own origin alone. */
async function get(ask: Ask, address: string, timeoutMs: number): Promise<Response> {
  const index = new URL(ask.index);
  const url = new URL(address);
  const headers: Record<string, string> = { accept: ACCEPT };
  if (index.username !== "" && url.origin === index.origin) {
    const pair = `${decodeURIComponent(index.username)}:${decodeURIComponent(index.password)}`;
    headers["authorization"] = `Basic ${Buffer.from(pair).toString("base64")}`;
  }
  url.username = "";
  url.password = "";
  const signal = AbortSignal.any([ask.signal, AbortSignal.timeout(timeoutMs)]);
  try {
    const answer = await fetch(url, { dispatcher: ask.agent, signal, headers });
    if (answer.ok) return answer;
    await answer.body?.cancel();
    throw new StepFailure(
      `${url.href} answered ${answer.status}`,
      `Check python.indexUrl. ${BY_HAND}`,
    );
  } catch (error) {
    ask.signal.throwIfAborted();
    if (error instanceof StepFailure) throw error;
    const { message, cause } = error as Error;
    throw new StepFailure(
      `uv is not installed, and ${url.href} cannot be reached: ${cause instanceof Error ? cause.message : message}`,
      `Check the network and python.indexUrl. ${BY_HAND}`,
      { cause: error },
    );
  }
}

async function readBounded(answer: Response, maxBytes: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of answer.body ?? []) {
    const bytes = part as Uint8Array;
    size += bytes.length;
    if (size > maxBytes) {
      throw new StepFailure(
        `${answer.url} is over ${maxBytes} bytes, more than uv can be`,
        `Check python.indexUrl. ${BY_HAND}`,
      );
    }
    parts.push(bytes);
  }
  return Buffer.concat(parts);
}
