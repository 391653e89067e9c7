/**
 * Who is answered.
 *
 * On loopback everybody who is on this machine, by a request that was meant for loopback; a web page
 * that a browser was led to send here by a name of its own is not. With the token (a tunnel, a proxy)
 * the name does not matter.
 *
 * On any other address only those with the token, whoever they are: a request from loopback may come
 * from a proxy that speaks for the whole world. One route is open, `GET /ready`, so that load balancers
 * can ask; without the token it tells one word. Everything else has names, reasons and logs in it, and
 * those who ask for it (the fleet's pings, Prometheus) can carry a token.
 */

/** What a token that came with a request is worth. `none`: there was none, or none is asked for. */
export type TokenVerdict = "none" | "valid" | "wrong";

/** What decides. */
export interface AccessFacts {
  readonly isLoopbackBind: boolean;
  /** See `isLoopbackRequest`. */
  readonly isLoopbackRequest: boolean;
  readonly isOpenRoute: boolean;
  readonly token: TokenVerdict;
}

/** `brief`: answered without names and reasons. */
export type Access =
  | { readonly kind: "full" }
  | { readonly kind: "brief" }
  | {
      readonly kind: "refused";
      readonly code: "unauthorized" | "forbidden";
      readonly message: string;
    };

const FULL: Access = { kind: "full" };

/** Decides about one request. */
export function decideAccess(facts: AccessFacts): Access {
  if (facts.token === "valid") return FULL;
  if (facts.isLoopbackBind) {
    if (facts.token === "wrong") return wrongToken();
    if (facts.isLoopbackRequest) return FULL;
    return {
      kind: "refused",
      code: "forbidden",
      message:
        "only requests to and from this machine are answered without a token: use http://127.0.0.1, or send the token of `health.tokenFile`",
    };
  }
  if (facts.isOpenRoute) return { kind: "brief" };
  if (facts.token === "wrong") return wrongToken();
  return {
    kind: "refused",
    code: "unauthorized",
    message:
      "a token is needed: send `Authorization: Bearer TOKEN` with what `health.tokenFile` holds",
  };
}

function wrongToken(): Access {
  return {
    kind: "refused",
    code: "unauthorized",
    message: "the token is not the one that `health.tokenFile` holds now",
  };
}
