/** Tells "no such path" from "not with this method": a router only says that it found nothing. */
export interface RouteTable {
  /** Remembers a route's pattern, whatever its methods. */
  add(pattern: string): void;
  /**
   * The methods that a path (without query) takes, sorted; empty when no route has it. `OPTIONS` is
   * among them, for it is answered wherever there is a route.
   */
  methodsOf(path: string): string[];
}

const METHODS = ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT"];
const PARAMETER = /:[A-Za-z0-9_]+(?:\(([^()]*)\))?/g;
const SPECIAL = /[.+?^${}()|[\]\\]/g;

/**
 * Makes an empty table. It is looked at only when a request found no route, so a walk is fast enough.
 * `hasRoute` asks the router whether a pattern has a method: what the router tells when a route is
 * registered leaves some out (a prefix with and without its slash).
 */
export function createRouteTable(
  hasRoute: (method: string, pattern: string) => boolean,
): RouteTable {
  const patterns = new Map<string, RegExp>();
  return {
    add(pattern) {
      if (!patterns.has(pattern)) patterns.set(pattern, patternRegExp(pattern));
    },
    methodsOf(path) {
      const plain = decodePath(path);
      const matching = [...patterns].filter(([, matches]) => matches.test(plain));
      if (matching.length === 0) return [];
      const methods = METHODS.filter((method) =>
        matching.some(([pattern]) => hasRoute(method, pattern)),
      );
      return [...methods, "OPTIONS"].sort();
    },
  };
}

/** As the router reads a path: escaped letters are letters, an escaped slash stays escaped. */
function decodePath(path: string): string {
  try {
    return decodeURI(path);
  } catch {
    return path;
  }
}

function patternRegExp(pattern: string): RegExp {
  // A catch-all (pages of a dashboard) would make every unknown path look known.
  if (pattern === "*" || pattern === "/*") return /^(?!)$/;
  let source = "";
  let from = 0;
  for (const match of pattern.matchAll(PARAMETER)) {
    source += literal(pattern.slice(from, match.index));
    from = match.index + match[0].length;
    // The router takes nothing for a parameter too, at the path's end.
    const isLast = from === pattern.length;
    source += match[1] === undefined ? (isLast ? "[^/]*" : "[^/]+") : `(?:${match[1]})`;
  }
  return new RegExp(`^${source}${literal(pattern.slice(from))}$`, "s");
}

function literal(text: string): string {
  return text.replaceAll(SPECIAL, String.raw`\$&`).replaceAll("*", ".*");
}
