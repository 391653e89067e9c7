/** What of a request decides whether it was meant for loopback. */
export interface AddressedHeaders {
  readonly host?: string | undefined;
  readonly origin?: string | undefined;
}

const LOOPBACK_V4 = /^127(?:\.\d{1,3}){3}$/;

/** Whether a host name or address (without port, with or without brackets) is this machine's loopback. */
export function isLoopbackName(name: string): boolean {
  const plain = name.toLowerCase().replace(/^\[(.*)\]$/, "$1");
  return plain === "localhost" || plain === "::1" || LOOPBACK_V4.test(plain);
}

/**
 * Whether a request was meant for loopback and does not come from a web page of elsewhere. A page
 * can make a browser send it here, but it cannot choose `Host` (after DNS rebinding it names the
 * page's own domain) nor hide `Origin`.
 */
export function isLoopbackRequest({ host, origin }: AddressedHeaders): boolean {
  const asked = hostName(`http://${host ?? ""}`);
  if (asked === undefined || !isLoopbackName(asked)) return false;
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
