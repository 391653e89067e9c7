import {
  CST,
  isScalar,
  Lexer,
  LineCounter,
  parseDocument,
  visit,
  type Document,
  type YAMLError,
} from "yaml";
import { yamlPlaces, type YamlPlaces } from "./yaml-positions.ts";

/** Something wrong with the text itself. */
export interface YamlProblem {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** A YAML text as plain data, with the places of everything in it; or why it is none. */
export type ParsedYaml =
  | { readonly kind: "ok"; readonly value: unknown; readonly places: YamlPlaces }
  | { readonly kind: "refused"; readonly problems: readonly YamlProblem[] };

/** Times that one anchor's content may be used, what is inside it counted too. */
const ALIASES_MAX = 100;
/** Deeper than any file that we read. */
const DEPTH_MAX = 50;
/** A level of a block takes one space at least, four in ordinary files. */
const INDENT_MAX = DEPTH_MAX * 4;

/** What the lexer says beside the text itself. */
const CONTROL_TOKENS: ReadonlySet<string> = new Set(["doc-mode", "flow-error-end", "scalar"]);

/**
 * Parses one YAML document (version 1.2: `yes` is a text, `<<` is no merge). Nothing is evaluated,
 * tags of any kind are refused, and so is what would grow without measure by aliases.
 */
export function parseYaml(text: string): ParsedYaml {
  const tooDeep = findTooDeep(text);
  if (tooDeep !== undefined) return { kind: "refused", problems: [tooDeep] };
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: false, // Looked for below: the library compares every key with every other.
    logLevel: "error",
  });
  const said = [...document.errors, ...document.warnings];
  const problems = said
    .map((error) => toProblem(error, lines))
    .concat(duplicateKeys(document, lines));
  return problems.length > 0 ? { kind: "refused", problems } : toValue(document, lines);
}

function toValue(document: Document.Parsed, lines: LineCounter): ParsedYaml {
  try {
    const value: unknown = document.toJS({ maxAliasCount: ALIASES_MAX });
    return { kind: "ok", value, places: yamlPlaces(document, lines) };
  } catch (error) {
    // "Excessive alias count", or an alias inside its own anchor.
    const reason = error instanceof Error ? error.message : String(error);
    const message =
      `anchors and aliases (\`&name\`, \`*name\`) grow too much: at most ${ALIASES_MAX} uses. ` +
      `Write the values out (${reason})`;
    return { kind: "refused", problems: [{ line: 1, column: 1, message }] };
  }
}

function duplicateKeys(document: Document.Parsed, lines: LineCounter): readonly YamlProblem[] {
  const problems: YamlProblem[] = [];
  visit(document, {
    Map(_, map) {
      const seen = new Map<string, number>();
      for (const { key } of map.items) {
        if (!isScalar(key)) continue;
        const name = String(key.value);
        const { line, col } = lines.linePos(key.range?.[0] ?? 0);
        const first = seen.get(name);
        if (first === undefined) {
          seen.set(name, line);
          continue;
        }
        const message = `the key ${JSON.stringify(name)} is in line ${first} already: remove one of them`;
        problems.push({ line, column: col, message });
      }
    },
  });
  return problems;
}

function toProblem(error: YAMLError, lines: LineCounter): YamlProblem {
  const { line, col } = lines.linePos(error.pos[0]);
  return { line: Math.max(1, line), column: Math.max(1, col), message: words(error) };
}

function words(error: YAMLError): string {
  const said = error.message.split("\n")[0] ?? "";
  switch (error.code) {
    case "MULTIPLE_DOCS":
      return "expected one document, found a second one (`---`): remove it";
    case "TAB_AS_INDENT":
      return "tabs cannot indent YAML: use spaces";
    case "TAG_RESOLVE_FAILED":
      return `tags (\`!name\`) are not supported: remove it (${said})`;
    default:
      return `not valid YAML: ${said}`;
  }
}

/**
 * The first place that opens more levels than any of our files has. Found in the tokens and the
 * indentation, before the parser: that calls itself at each level, and a text of a million brackets
 * ended this whole process there (yaml 2.9.1, Node 20.20.2), not just the call.
 */
function findTooDeep(text: string): YamlProblem | undefined {
  let line = 1;
  let open = 0;
  let indicators = 0;
  let column = 1;
  let isText = false;
  for (const token of new Lexer().lex(text)) {
    const type: string | null = isText ? "text" : CST.tokenType(token);
    isText = type === "scalar"; // The next token is a scalar's content, whatever it begins with.
    if (type === null || CONTROL_TOKENS.has(type)) continue;
    if (type === "flow-seq-start" || type === "flow-map-start") open += 1;
    if (type === "flow-seq-end" || type === "flow-map-end") open = Math.max(0, open - 1);
    if (type === "seq-item-ind" || type === "explicit-key-ind") indicators += 1;
    if (type === "space" && column === 1 && token.length > INDENT_MAX) return tooDeepAt(line, 1);
    if (open > DEPTH_MAX || indicators > DEPTH_MAX) return tooDeepAt(line, column);
    const breaks = token.split("\n").length - 1;
    line += breaks;
    column = breaks > 0 ? 1 : column + token.length;
    if (breaks > 0) indicators = 0;
  }
  return undefined;
}

function tooDeepAt(line: number, column: number): YamlProblem {
  return { line, column, message: `nested too deeply: at most ${DEPTH_MAX} levels are read` };
}
