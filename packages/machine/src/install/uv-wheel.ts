/** Choosing uv's wheel from a page of a package index (PEP 503 and 691): no network in here. */

/** Oldest uv that knows everything that is asked of it (`--torch-backend`, `venv --clear`). */
export const UV_MINIMUM = "0.8.0";
/** What is installed where the index has it; else its newest one. */
export const UV_PREFERRED = "0.13.9";

/** A file of a project on a package index. */
export interface IndexFile {
  readonly filename: string;
  readonly url: string;
  /** Null where the index names none. */
  readonly sha256: string | null;
  readonly isYanked: boolean;
}

/** What decides which wheel runs here. */
export interface HostPlatform {
  readonly os: "linux" | "darwin";
  readonly machine: "x86_64" | "aarch64";
  /** Of Linux: version of glibc (`2.36`), or null for musl. */
  readonly glibc: string | null;
}

/** A wheel that runs here. */
export interface UvWheel extends IndexFile {
  readonly version: string;
  readonly sha256: string;
}

/** Reads the page of a project: JSON, or the HTML of indexes that know nothing else. */
export function parseIndexPage(contentType: string, body: string, pageUrl: string): IndexFile[] {
  return contentType.includes("json") ? fromJson(body, pageUrl) : fromHtml(body, pageUrl);
}

function fromJson(body: string, pageUrl: string): IndexFile[] {
  const page = JSON.parse(body) as { readonly files?: unknown };
  if (!Array.isArray(page.files)) return [];
  return page.files.flatMap((file: unknown) => {
    const { filename, url, hashes, yanked } = file as Record<string, unknown>;
    const sha256 = (hashes as Record<string, unknown> | undefined)?.["sha256"];
    if (typeof filename !== "string" || typeof url !== "string") return [];
    return [
      {
        filename,
        url: new URL(url, pageUrl).href,
        sha256: typeof sha256 === "string" ? sha256.toLowerCase() : null,
        isYanked: yanked !== undefined && yanked !== false,
      },
    ];
  });
}

const ANCHOR = /<a\s([^>]*)>([^<]*)<\/a>/gi;

function fromHtml(body: string, pageUrl: string): IndexFile[] {
  return [...body.matchAll(ANCHOR)].flatMap(([, attributes = "", text = ""]) => {
    const href = /href\s*=\s*(?:"([^"]*)"|'([^']*)')/i.exec(attributes);
    const target = (href?.[1] ?? href?.[2])?.replaceAll("&amp;", "&");
    if (target === undefined) return [];
    const url = new URL(target, pageUrl);
    const sha256 = /^#sha256=([0-9a-f]{64})$/i.exec(url.hash)?.[1]?.toLowerCase() ?? null;
    url.hash = "";
    const isYanked = /\bdata-yanked\b/i.test(attributes);
    return [{ filename: text.trim(), url: url.href, sha256, isYanked }];
  });
}

const WHEEL = /^uv-(\d+\.\d+\.\d+)-py3-none-([A-Za-z0-9_.]+)\.whl$/;

/** The wheel of uv to install; undefined when none runs here. Those without a hash do not count. */
export function chooseUvWheel(
  files: readonly IndexFile[],
  platform: HostPlatform,
): UvWheel | undefined {
  const fit = files.flatMap((file): UvWheel[] => {
    const [, version, tags] = WHEEL.exec(file.filename) ?? [];
    if (version === undefined || tags === undefined || file.sha256 === null) return [];
    if (file.isYanked || compareVersions(version, UV_MINIMUM) < 0) return [];
    if (!tags.split(".").some((tag) => runsHere(tag, platform))) return [];
    return [{ ...file, sha256: file.sha256, version }];
  });
  const preferred = fit.find(({ version }) => version === UV_PREFERRED);
  return preferred ?? fit.toSorted((a, b) => compareVersions(b.version, a.version))[0];
}

function runsHere(tag: string, platform: HostPlatform): boolean {
  if (platform.os === "darwin") {
    const arch = platform.machine === "aarch64" ? "arm64" : "x86_64";
    return new RegExp(`^macosx_\\d+_\\d+_(?:${arch}|universal2)$`).test(tag);
  }
  const linux = /^(manylinux|musllinux)_(\d+)_(\d+)_(\w+)$/.exec(tag);
  if (linux === null || linux[4] !== platform.machine) return false;
  if (linux[1] === "musllinux") return platform.glibc === null;
  return platform.glibc !== null && compareVersions(platform.glibc, `${linux[2]}.${linux[3]}`) >= 0;
}

/** Orders dotted versions of numbers; a missing part counts as 0. */
export function compareVersions(a: string, b: string): number {
  const left = a.split(".").map(Number);
  const right = b.split(".").map(Number);
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The version in what `uv --version` prints (`uv 0.13.9 (…)`); undefined when it is none. */
export function parseUvVersion(text: string): string | undefined {
  return /^uv (\d+\.\d+\.\d+)/.exec(text)?.[1];
}
