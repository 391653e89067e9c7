/** Remembers every route, to tell "no such path" from "not with this method". */
export interface RouteTable {
  add(method: string | readonly string[], pattern: string): void;
  /** The methods that a path takes; empty when no route has it. */
  methodsOf(path: string): string[];
}

const PARAMETER = /:[A-Za-z0-9_]+(?:\(([^()]*)\))?/g;
const SPECIAL = /[.+?^${}()|[\]\\]/g;

/** Makes an empty table. Looked at only when a request found no route, so a walk is fast enough. */
export function createRouteTable(): RouteTable {
  const routes = new Map<string, { readonly matches: RegExp; readonly methods: Set<string> }>();
  return {
    add(method, pattern) {
      const known = routes.get(pattern) ?? {
        matches: patternRegExp(pattern),
        methods: new Set<string>(),
      };
      for (const name of typeof method === "string" ? [method] : method) known.methods.add(name);
      routes.set(pattern, known);
    },
    methodsOf(path) {
      const methods = new Set<string>();
      for (const route of routes.values()) {
        // A catch-all (pages of the dashboard) would make every unknown path look known.
        if (!route.matches.test(path)) continue;
        for (const method of route.methods) methods.add(method);
      }
      return [...methods].sort((a, b) => (a < b ? -1 : 1));
    },
  };
}

function patternRegExp(pattern: string): RegExp {
  if (pattern === "*" || pattern === "/*") return /^(?!)$/;
  let source = "";
  let from = 0;
  for (const match of pattern.matchAll(PARAMETER)) {
    source += literal(pattern.slice(from, match.index));
    source += match[1] === undefined ? "[^/]+" : `(?:${match[1]})`;
    from = match.index + match[0].length;
  }
  return new RegExp(`^${source}${literal(pattern.slice(from))}$`);
}

function literal(text: string): string {
  return text.replaceAll(SPECIAL, String.raw`\$&`).replaceAll("*", ".*");
}
