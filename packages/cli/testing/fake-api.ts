import { failureOf, type ApiAnswer, type ApiClient } from "../src/api/api-client.ts";

/** A request that a {@link fakeApi} got. */
export interface ApiCall {
  readonly method: string;
  readonly path: string;
  readonly json: unknown;
}

/** A server in memory; every request is kept. */
export function fakeApi(answer: (call: ApiCall) => ApiAnswer): ApiClient & {
  readonly calls: readonly ApiCall[];
  /** Of each call, beside those that every request has. */
  readonly headers: readonly Readonly<Record<string, string>>[];
} {
  const calls: ApiCall[] = [];
  const sent: Readonly<Record<string, string>>[] = [];
  const request: ApiClient["request"] = async (path, { method = "GET", json, headers } = {}) => {
    const call = { method, path, json };
    calls.push(call);
    sent.push(headers ?? {});
    return answer(call);
  };
  return {
    baseUrl: "http://holdfast",
    calls,
    headers: sent,
    request,
    async json(path, options) {
      const given = await request(path, options);
      if (given.kind !== "answered") throw failureOf(given, "http://holdfast");
      return await given.response.json();
    },
  };
}

/** An answer with a body. */
export const answered = (body: unknown): ApiAnswer => ({
  kind: "answered",
  response: new Response(JSON.stringify(body)),
});

/** A refusal. */
export const refused = (
  status: number,
  code: Extract<ApiAnswer, { kind: "refused" }>["code"],
  message: string,
): ApiAnswer => ({
  kind: "refused",
  status,
  code,
  message,
  details: undefined,
  requestId: undefined,
  retryAfterSeconds: undefined,
});

/** Nobody is there. */
export const GONE: ApiAnswer = {
  kind: "unreachable",
  reason: "nothing listens there",
  mayHaveArrived: false,
};
