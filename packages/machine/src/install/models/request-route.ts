/** Where a request may go, and which secret goes with it. Pure. */
import { downloadFailure, type DownloadFailure } from "./download-failure.ts";
import type { Manifest } from "../../manifest/model.ts";

/** A secret for a host, as the manifest names it. */
export type HostAuth = Manifest["downloads"]["auth"][number];

/** Most redirects of one request. */
export const REDIRECTS_MAX = 10;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/** Whether a status sends the client elsewhere. */
export function isRedirect(status: number): boolean {
  return REDIRECTS.has(status);
}

/**
 * The secret for a URL: that of its very host. An entry without a port is for the usual port of the
 * scheme alone, because another port of a host may be another user's.
 */
export function authFor(url: URL, auth: readonly HostAuth[]): HostAuth | null {
  return auth.find(({ host }) => host.toLowerCase() === url.host) ?? null;
}

/** A URL as it may be shown: signed links carry secrets in their query. */
export function shownUrl(url: URL): string {
  return url.protocol === "file:" ? url.href : `${url.origin}${url.pathname}`;
}

/** Where a redirect leads. */
export type NextHop =
  | { readonly kind: "go"; readonly url: URL }
  | { readonly kind: "failed"; readonly failure: DownloadFailure };

/** What is known of the way so far. */
export interface WaySoFar {
  readonly url: URL;
  readonly hops: number;
  /** A secret was sent on some hop. */
  readonly hasSentSecret: boolean;
}

/**
 * Decides whether to follow a redirect. A way on which a secret was or would be sent never leaves
 * https once it is on it: whoever listens there would read it, or the link that it opened.
 */
export function decideHop(
  way: WaySoFar,
  location: string | undefined,
  auth: readonly HostAuth[],
): NextHop {
  const from = shownUrl(way.url);
  if (location === undefined || !URL.canParse(location, way.url.href)) {
    return refused(`${from} redirects to nowhere`, "Correct the model's url in machine.yaml.");
  }
  if (way.hops >= REDIRECTS_MAX) {
    return refused(
      `more than ${REDIRECTS_MAX} redirects, the last one from ${from}`,
      "Correct the model's url in machine.yaml.",
    );
  }
  const url = new URL(location, way.url);
  // What a server puts there is not ours to send on.
  url.username = "";
  url.password = "";
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    return refused(
      `${from} redirects to ${url.protocol.slice(0, 20)}, which is not fetched from`,
      "Correct the model's url in machine.yaml.",
    );
  }
  const isDowngrade = way.url.protocol === "https:" && url.protocol === "http:";
  if (isDowngrade && (way.hasSentSecret || authFor(url, auth) !== null)) {
    return refused(
      `${from} redirects from https to ${shownUrl(url)}, and a token is used`,
      "Name a url that stays on https, or remove the host's entry from downloads.auth.",
    );
  }
  return { kind: "go", url };
}

function refused(message: string, advice: string): NextHop {
  return { kind: "failed", failure: downloadFailure("redirect_refused", message, advice) };
}
