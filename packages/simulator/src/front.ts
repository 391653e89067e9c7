import type { IncomingMessage } from "node:http";
import { empty, text, type Reply } from "./http/reply.ts";
import { BodyTooLargeError, isForeignOrigin, type SimRequest } from "./http/request.ts";
import { route } from "./http/router.ts";
import { DEFAULTS, type SimulatorOptions } from "./options.ts";
import type { Simulation } from "./simulation.ts";

/** A request as it comes in, its body still to be read. */
export interface AskedRequest {
  readonly method: string;
  /** Path and query. */
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  /** Reads the whole body; throws {@link BodyTooLargeError} beyond the limit. */
  readBody(limitBytes: number): Promise<Buffer>;
}

/** Whoever asks for a socket: taken in, or turned away with a status line. */
export type Admission =
  | { readonly kind: "admitted"; readonly clientId: string }
  | { readonly kind: "refused"; readonly status: string };

/**
 * What stands between whoever reaches a simulated process and its routes: pauses, limits and the
 * faults of requests. It knows nothing of how it is reached.
 */
export class Front {
  readonly #simulation: Simulation;
  readonly #options: SimulatorOptions;
  readonly #stopping: AbortSignal;

  constructor(simulation: Simulation, options: SimulatorOptions, stopping: AbortSignal) {
    this.#simulation = simulation;
    this.#options = options;
    this.#stopping = stopping;
  }

  /** The answer, or `cut` when the connection breaks instead. Throws what reading the body throws. */
  async answer(asked: AskedRequest): Promise<Reply | "cut"> {
    const simulation = this.#simulation;
    const { method } = asked;
    const url = new URL(asked.url, "http://simulated");
    const path = stripPrefix(url.pathname);
    simulation.countRequest(method, path);
    const isOwn = path.startsWith("/simulator/");
    if (!isOwn) await simulation.pause.untilOver();
    if (isForeignOrigin(asked.headers)) return empty(403);
    const limit = this.#options.maxBodyBytes ?? DEFAULTS.maxBodyBytes;
    let body: Buffer;
    try {
      body = await asked.readBody(limit);
    } catch (error) {
      if (!(error instanceof BodyTooLargeError)) throw error;
      return text(413, `Maximum request body size ${String(limit)} exceeded, ${error.message}`);
    }
    const { headers } = asked;
    const request: SimRequest = { method, path, query: url.searchParams, headers, body };
    if (isOwn || simulation.plan.isEmpty) return route(request, simulation);
    return this.#answerWithFaults(request);
  }

  /** Whether a socket may be opened; waits while nothing answers. */
  async admit(asked: Pick<AskedRequest, "headers" | "url">): Promise<Admission> {
    const url = new URL(asked.url, "http://simulated");
    const path = stripPrefix(url.pathname);
    this.#simulation.countRequest("WS", path);
    await this.#simulation.pause.untilOver();
    if (path !== "/ws") return { kind: "refused", status: "404 Not Found" };
    if (isForeignOrigin(asked.headers)) return { kind: "refused", status: "403 Forbidden" };
    const error = this.#simulation.plan.strike("http_error", { method: "GET", path });
    if (error !== null) return { kind: "refused", status: `${String(error.status)} Simulated` };
    return { kind: "admitted", clientId: url.searchParams.get("clientId") ?? "" };
  }

  async #answerWithFaults(request: SimRequest): Promise<Reply | "cut"> {
    const { plan } = this.#simulation;
    const { method, path } = request;
    const occasion = { method, path };
    const delay = plan.strike("delay", occasion);
    if (delay !== null) await this.#options.clock.sleep(delay.ms, this.#stopping);
    const before = this.#strikeRequest(occasion, "before");
    if (before !== null) return before;
    const reply = route(request, this.#simulation);
    return this.#strikeRequest(occasion, "after") ?? reply;
  }

  #strikeRequest(
    occasion: { readonly method: string; readonly path: string },
    when: "before" | "after",
  ): Reply | "cut" | null {
    const { plan } = this.#simulation;
    const isNow = (action: { readonly when?: "before" | "after" }): boolean =>
      (action.when ?? "before") === when;
    const error = plan.strike("http_error", occasion, isNow);
    if (error !== null) return text(error.status, `${String(error.status)}: simulated fault`);
    if (plan.strike("reset", occasion, isNow) !== null) return "cut";
    const crash = plan.strike("crash", occasion, isNow);
    if (crash === null) return null;
    this.#simulation.strikeNow(crash);
    return "cut";
  }
}

/** Every path answers under `/api` too. */
function stripPrefix(path: string): string {
  return path.startsWith("/api/") ? path.slice(4) : path;
}
