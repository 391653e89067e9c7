/** An answer before it is written. */
export interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
}

/** JSON, as aiohttp labels it. */
export function json(value: unknown, status = 200): Reply {
  return {
    status,
    headers: { "Content-Type": "application/json; charset=utf-8" },
    body: JSON.stringify(value),
  };
}

/** No body and no type, as `web.Response(status=…)`. */
export function empty(status = 200): Reply {
  return { status };
}

/** Plain text, as aiohttp writes its own errors. */
export function text(status: number, body: string): Reply {
  return { status, headers: { "Content-Type": "text/plain; charset=utf-8" }, body };
}

/** What aiohttp answers when a handler raises. */
export function serverError(): Reply {
  return text(500, "500 Internal Server Error\n\nServer got itself in trouble");
}

/** A path that nobody knows: the static route answers, and finds no file. */
export function notFound(): Reply {
  return { status: 404, headers: { "Content-Type": "application/octet-stream" } };
}
