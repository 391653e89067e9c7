/** Where the server listens: an address that may be opened, and a port that is free. */
import { findPortHolder, holderText, isLoopbackName } from "@holdfast/runtime/host";
import { readTokenFile } from "./bearer-token.ts";

/** Where the server listens unless it is told otherwise. */
export const DEFAULT_HEALTH_PORT = 9_090;
/** Ports after the default that are tried when it is taken. */
const FURTHER_PORTS = 20;

/** What the operator says about it. */
export interface HealthAddress {
  /** `127.0.0.1` unless the operator says otherwise. */
  readonly host: string;
  /** Undefined: nobody named one, the default or the next free one is taken. 0: any free one. */
  readonly port: number | undefined;
  /** Needed when `host` is not of the loopback. */
  readonly tokenFile: string | undefined;
}

/** The server cannot be opened as it was asked for; the message says what to do. */
export class HealthServerRefusal extends Error {
  override readonly name = "HealthServerRefusal";
}

/** What was found about the token file when the server was started. */
export interface OpeningCheck {
  /** In words, for the log; null when nothing is to be said. */
  readonly warning: string | null;
}

/** Refuses an address that others can reach unless a usable token guards it. */
export async function checkOpening(address: HealthAddress): Promise<OpeningCheck> {
  const { host, tokenFile } = address;
  const isPublic = !isLoopbackName(host);
  if (tokenFile === undefined) {
    if (!isPublic) return { warning: null };
    throw new HealthServerRefusal(
      `the health server would listen on ${host}, where other machines reach it, and no token guards it: set \`health.tokenFile\` to a file with a token (openssl rand -hex 24), or leave \`health.host\` at 127.0.0.1`,
    );
  }
  const content = await readTokenFile(tokenFile);
  if (content.kind === "unusable") {
    if (!isPublic) return { warning: content.reason };
    throw new HealthServerRefusal(
      `the health server would listen on ${host}, where other machines reach it, and its token cannot be used: ${content.reason}`,
    );
  }
  const warning = `${tokenFile} can be read by other accounts of this machine: chmod 600 ${tokenFile}`;
  return { warning: content.isReadableByOthers ? warning : null };
}

/** Opens a port; rejects as Node's `listen` does. Resolves to the port. */
export type OpenPort = (host: string, port: number) => Promise<number>;

/** Where the server listens now. */
export interface Listening {
  readonly host: string;
  readonly port: number;
  /** For somebody on this machine. */
  readonly url: string;
  /** The default port and who has it, when that was taken; else null. */
  readonly movedFrom: { readonly port: number; readonly holder: string } | null;
}

/**
 * Opens the first port that may be used. One that the operator named is the only one that will do;
 * without a name it is the default, one of the next twenty, or any.
 */
export async function listenSomewhere(address: HealthAddress, open: OpenPort): Promise<Listening> {
  // `localhost` may be two addresses; one is enough, and every client tries both.
  const host = address.host.toLowerCase() === "localhost" ? "127.0.0.1" : address.host;
  const first = address.port ?? DEFAULT_HEALTH_PORT;
  const last = address.port === undefined ? first + FURTHER_PORTS : first;
  for (let port = first; port <= last; port += 1) {
    const opened = await tryOpen(host, port, open);
    if (opened === undefined) continue;
    const movedFrom = port === first ? null : await describeHolder(first);
    return { host, port: opened, url: `http://${reachableHost(host)}:${opened}`, movedFrom };
  }
  if (address.port === undefined) {
    // A host with many agents: any port is better than an agent that does not start for this.
    const opened = await tryOpen(host, 0, open);
    const movedFrom = await describeHolder(first);
    if (opened !== undefined) {
      return { host, port: opened, url: `http://${reachableHost(host)}:${opened}`, movedFrom };
    }
  }
  const { holder } = await describeHolder(first);
  throw new HealthServerRefusal(
    address.port === undefined
      ? `no free port for the health server: end something that listens, or name a port by HOLDFAST_HEALTH_PORT or \`health.port\``
      : `port ${first} for the health server is taken by ${holder}: end that, or name another by HOLDFAST_HEALTH_PORT or \`health.port\` (0 takes any free one)`,
  );
}

/** Undefined when the port is taken. */
async function tryOpen(host: string, port: number, open: OpenPort): Promise<number | undefined> {
  try {
    return await open(host, port);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EADDRINUSE") return undefined;
    const why = REASONS[code ?? ""] ?? (error instanceof Error ? error.message : String(error));
    throw new HealthServerRefusal(
      `the health server cannot listen on ${host}, port ${port}: ${why}`,
      { cause: error },
    );
  }
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "this account may not open that port: take one from 1024 on",
  EADDRNOTAVAIL: "that address is not of this machine: see `ip address`",
  ENOTFOUND: "that name cannot be resolved: give an address",
  EAI_AGAIN: "that name cannot be resolved now: give an address",
};

async function describeHolder(port: number): Promise<{ port: number; holder: string }> {
  return { port, holder: holderText(await findPortHolder(port)) };
}

function reachableHost(host: string): string {
  if (host === "0.0.0.0" || host === "::") return "127.0.0.1";
  return host.includes(":") ? `[${host}]` : host;
}
