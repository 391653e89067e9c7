import { assertNever } from "@holdfast/runtime";
import { isLoopbackName } from "@holdfast/runtime/host";

/** What the guards read of a request. Fastify's request fits. */
export interface AccessRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** Whether a process may listen where it is told to. */
export type BindDecision =
  { readonly kind: "allowed" } | { readonly kind: "refused"; readonly message: string };

/** A listener that others can reach needs keys; on loopback both is fine. */
export function decideBind(host: string, hasKeys: boolean): BindDecision {
  if (hasKeys || isLoopbackName(host)) return { kind: "allowed" };
  return {
    kind: "refused",
    message:
      `refusing to listen on ${host}: others could reach it and there is no API key. ` +
      "Make one with `holdfast keys create --role admin`, or listen on 127.0.0.1.",
  };
}

/** The key that a request brings, or why there is none. */
export type Credential =
  | { readonly kind: "none" }
  | { readonly kind: "key"; readonly text: string }
  | { readonly kind: "malformed"; readonly message: string };

const BEARER = /^Bearer +(\S+) *$/i;

/** Reads `Authorization: Bearer …` or `X-API-Key: …`; both together must agree. */
export function readCredential(headers: AccessRequest["headers"]): Credential {
  const authorization = headers["authorization"];
  const plain = headers["x-api-key"];
  if (authorization === undefined && plain === undefined) return { kind: "none" };
  const bearer = typeof authorization === "string" ? BEARER.exec(authorization)?.[1] : undefined;
  if (authorization !== undefined && bearer === undefined) {
    return { kind: "malformed", message: "expected Authorization: Bearer <key>" };
  }
  if (Array.isArray(plain) || (bearer !== undefined && plain !== undefined && bearer !== plain)) {
    return { kind: "malformed", message: "the request brings two different keys; send one" };
  }
  const text = bearer ?? plain;
  return text === undefined ? { kind: "none" } : { kind: "key", text };
}

/** What a key's row says about its use now. */
export function decideKey(
  key: { readonly expiresAt: number | null; readonly revokedAt: number | null },
  now: number,
): "valid" | "revoked" | "expired" {
  if (key.revokedAt !== null) return "revoked";
  return key.expiresAt !== null && key.expiresAt <= now ? "expired" : "valid";
}

/** Why a browser's request is refused, or that it is not. */
export type OriginDecision =
  { readonly kind: "allowed" } | { readonly kind: "refused"; readonly message: string };

const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);
const ALLOWED: OriginDecision = { kind: "allowed" };

/**
 * Another site's page in a browser on this machine may send requests here. One that changes
 * something is refused; what it reads stays with the browser, as no CORS header is ever sent.
 * Only callers without a key are asked: a browser adds no key of ours by itself, and a proxy in
 * front may have changed the Host header that the origin is compared with.
 */
export function decideOrigin(request: AccessRequest): OriginDecision {
  if (SAFE_METHODS.has(request.method.toUpperCase())) return ALLOWED;
  const origin = request.headers["origin"];
  const site = request.headers["sec-fetch-site"];
  if (typeof origin === "string") {
    if (originHost(origin) === hostHeader(request)) return ALLOWED;
    return { kind: "refused", message: `requests from pages of ${origin} are not taken` };
  }
  if (site === "cross-site" || site === "same-site") {
    return { kind: "refused", message: "requests from pages of other sites are not taken" };
  }
  return ALLOWED;
}

/**
 * A name of somebody else's may be made to point at this machine (DNS rebinding), and the browser
 * then takes our answers for that site's. Without keys only our own names are answered.
 */
export function decideHost(request: AccessRequest, ownHosts: readonly string[]): OriginDecision {
  const host = hostHeader(request);
  if (host === undefined) return { kind: "refused", message: "the request has no Host header" };
  const name = host.replace(/:\d+$/, "");
  if (isLoopbackName(name) || ownHosts.includes(name)) return ALLOWED;
  return {
    kind: "refused",
    message: `${name} is not a name of this server; call it by 127.0.0.1, or make an API key`,
  };
}

function hostHeader(request: AccessRequest): string | undefined {
  const host = request.headers["host"];
  return typeof host === "string" ? host.toLowerCase() : undefined;
}

function originHost(origin: string): string | undefined {
  try {
    return new URL(origin).host;
  } catch {
    return undefined; // "null": a sandboxed page or a file.
  }
}

/** Words for a key that may not be used any more. */
export function keyRefusal(state: "revoked" | "expired"): string {
  switch (state) {
    case "revoked":
      return "this API key was revoked";
    case "expired":
      return "this API key has expired";
    default:
      return assertNever(state);
  }
}
