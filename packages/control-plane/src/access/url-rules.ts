import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

/** Private places that the operator lets URLs point to; none by default. */
export interface UrlRules {
  /** Host names as they stand in URLs: every address they have is let through. */
  readonly hosts: ReadonlySet<string>;
  /** Ranges of addresses that are let through whatever name led there. */
  readonly ranges: readonly AddressRange[];
}

/** A range of addresses. */
export interface AddressRange {
  readonly address: ipaddr.IPv4 | ipaddr.IPv6;
  readonly bits: number;
}

/** Whether a URL or address may be called, and in words why not. */
export type UrlDecision =
  { readonly kind: "allowed" } | { readonly kind: "forbidden"; readonly reason: string };

/** Nothing private is let through. */
export const PUBLIC_ONLY: UrlRules = { hosts: new Set(), ranges: [] };

/** Longest URL that is called. */
export const MAX_URL_LENGTH = 2048;

const ALLOWED: UrlDecision = { kind: "allowed" };

/** Public by its range, yet the cloud's own service inside every Azure machine. */
const SERVICE_ADDRESSES = new Set(["168.63.129.16"]);

/**
 * Reads a setting that lists host names, addresses and ranges ("10.0.0.0/8"), separated by commas.
 * Throws RangeError naming the entry that is none of these.
 */
export function parseUrlRules(text: string): UrlRules {
  const hosts = new Set<string>();
  const ranges: AddressRange[] = [];
  for (const entry of text.split(",").map((part) => part.trim().toLowerCase())) {
    if (entry === "") continue;
    if (ipaddr.isValidCIDR(entry)) {
      const [address, bits] = ipaddr.parseCIDR(entry);
      ranges.push({ address, bits });
    } else if (isIP(entry) !== 0) {
      const address = ipaddr.parse(entry);
      ranges.push({ address, bits: address.kind() === "ipv4" ? 32 : 128 });
    } else if (/^[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?$/.test(entry)) {
      hosts.add(entry);
    } else {
      throw new RangeError(`"${entry}" is not a host name, an address or a range of addresses`);
    }
  }
  return { hosts, ranges };
}

/**
 * What can be said of a URL before its name is looked up. An address written as a number, in octal
 * or in hex is the address it means: `URL` has put it into its usual form.
 */
export function decideUrl(text: string, rules: UrlRules): UrlDecision {
  if (text.length > MAX_URL_LENGTH) return forbidden(`URLs may have ${MAX_URL_LENGTH} characters`);
  if (!URL.canParse(text)) return forbidden("this is not a URL");
  const url = new URL(text);
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    return forbidden(`only http and https are called, not ${url.protocol.replace(":", "")}`);
  }
  if (url.username !== "" || url.password !== "") {
    return forbidden("user and password in a URL are not taken");
  }
  const host = urlHost(url);
  if (isIP(host) !== 0) return decideAddress(host, rules);
  return ALLOWED;
}

/** The host of a URL as names are compared: without brackets, without the dot of the root. */
export function urlHost(url: URL): string {
  return url.hostname.replace(/^\[|\]$/g, "").replace(/\.$/, "");
}

/** Whether an address may be called: public ones, and those that the rules name. */
export function decideAddress(text: string, rules: UrlRules): UrlDecision {
  // A zone ("fe80::1%eth0") names an interface of this machine.
  if (!ipaddr.isValid(text) || text.includes("%")) return forbidden(`${text} is not an address`);
  const address = ipaddr.process(text); // Unwraps IPv4 in IPv6.
  const isNamed = rules.ranges.some(
    (range) =>
      range.address.kind() === address.kind() &&
      (address as ipaddr.IPv4).match(range.address, range.bits),
  );
  if (isNamed) return ALLOWED;
  const range = address.range();
  if (range !== "unicast") return forbidden(`${text} is not a public address (${range})`);
  if (SERVICE_ADDRESSES.has(address.toString())) return forbidden(`${text} is the cloud's own`);
  return ALLOWED;
}

function forbidden(reason: string): UrlDecision {
  return { kind: "forbidden", reason };
}
