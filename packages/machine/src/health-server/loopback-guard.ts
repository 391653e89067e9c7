import type { IncomingHttpHeaders } from "node:http";

const LOOPBACK_NAMES = new Set(["localhost", "::1", "[::1]"]);
const LOOPBACK_V4 = /^127(?:\.\d{1,3}){3}$/;

/** Whether a host name or address (without port) is this machine's loopback. */
export function isLoopbackName(name: string): boolean {
  const plain = name.toLowerCase();
  return LOOPBACK_NAMES.has(plain) || LOOPBACK_V4.test(plain);
}

/**
 * Whether a request was meant for loopback and does not come from a web page of elsewhere. A page
 * can make a browser send it here, but it cannot choose `Host` (after DNS rebinding it names the
 * page's own domain) nor hide `Origin`. The same rule as the control plane's.
 */
export function isLoopbackRequest(headers: IncomingHttpHeaders): boolean {
  const host = hostName(`http://${headers.host ?? ""}`);
  if (host === undefined || !isLoopbackName(host)) return false;
  const { origin } = headers;
  if (origin === undefined) return true;
  const from = hostName(origin);
  return from !== undefined && isLoopbackName(from);
}

function hostName(url: string): string | undefined {
  try {
    return new URL(url).hostname;
  } catch {
    return undefined;
  }
}
