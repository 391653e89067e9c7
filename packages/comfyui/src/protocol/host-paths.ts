/** Text longer than this is cut before it is looked at. */
const MAX_TEXT = 1_000_000;

/** Directories of ComfyUI itself: what lies below them says what is concerned, on every host. */
const KEPT_FROM: ReadonlySet<string> = new Set([
  "api_server",
  "app",
  "comfy",
  "comfy_api",
  "comfy_api_nodes",
  "comfy_config",
  "comfy_execution",
  "comfy_extras",
  "input",
  "middleware",
  "models",
  "output",
  "temp",
  "user",
]);

/** Characters that end an unquoted path. */
const PATH_END = new Set([
  "\n",
  "\r",
  "\t",
  " ",
  '"',
  "'",
  "`",
  "<",
  ">",
  "|",
  ",",
  ";",
  ")",
  "]",
  "}",
]);

/** Characters after which a path may begin. */
const PATH_START = new Set([
  "",
  "\n",
  "\r",
  "\t",
  " ",
  '"',
  "'",
  "`",
  "<",
  ">",
  "|",
  ",",
  ";",
  "(",
  "[",
  "{",
  "=",
  ":",
]);

/**
 * Removes the host's directories from text that ComfyUI made (F6): `/home/x/ComfyUI/execution.py`
 * becomes `execution.py`, `C:\ai\ComfyUI\custom_nodes\Pack\n.py` becomes `custom_nodes/Pack/n.py`.
 * What says which part of ComfyUI, of a custom node or of a library is concerned stays; of any other
 * absolute path only the last name. URLs stay whole. Takes time linear in the length of the text.
 */
export function stripHostPaths(text: string): string {
  const source = text.length > MAX_TEXT ? text.slice(0, MAX_TEXT) : text;
  let result = "";
  let copied = 0;
  let i = 0;
  while (i < source.length) {
    if (source.startsWith("://", i)) {
      // The path of a URL is nobody's directory, unless it is a file's.
      i = source[i + 3] === "/" ? i + 3 : wordEnd(source, i);
      if (source[i] !== "/") continue;
    }
    const before = i === 0 || source.startsWith("://", i - 3) ? "" : (source[i - 1] ?? "");
    if (!PATH_START.has(before) || !startsPath(source, i)) {
      i += 1;
      continue;
    }
    const end = pathEnd(source, i, before);
    result += source.slice(copied, i) + shorten(source.slice(i, end));
    copied = end;
    i = end;
  }
  return result + source.slice(copied);
}

/** Whether an absolute path begins here: `/x`, `\\host`, `C:\` or `C:/`. */
function startsPath(text: string, at: number): boolean {
  const first = text[at] ?? "";
  const second = text[at + 1] ?? "";
  if (first === "/") return isNameStart(second);
  if (first === "\\") return second === "\\" && isNameStart(text[at + 2] ?? "");
  if (!isLetter(first) || second !== ":") return false;
  const third = text[at + 2] ?? "";
  // "http://": the drive letter of Windows stands alone, with one separator or an escaped one.
  return third === "\\" || (third === "/" && text[at + 3] !== "/");
}

function isNameStart(char: string): boolean {
  return char !== "" && char !== "/" && char !== "\\" && char !== "*" && !PATH_END.has(char);
}

function isLetter(char: string): boolean {
  return (char >= "a" && char <= "z") || (char >= "A" && char <= "Z");
}

/**
 * Where the path ends. Inside quotes it goes to the closing one, so that names with spaces go too;
 * otherwise to the first character that ends a word, or over a space when the next word still holds
 * a backslash, which prose does not.
 */
function pathEnd(text: string, start: number, before: string): number {
  if (before === '"' || before === "'" || before === "`") {
    for (let i = start; i < text.length && text[i] !== "\n"; i += 1) {
      if (text[i] === before) return i;
    }
  }
  let end = wordEnd(text, start);
  if (text[start] !== "/") end = overSpaces(text, end);
  // A colon or full stop that closes the phrase is no part of the name.
  while (end > start + 1 && (text[end - 1] === ":" || text[end - 1] === ".")) end -= 1;
  return end;
}

/** Goes on over spaces as long as the next word holds a backslash. */
function overSpaces(text: string, start: number): number {
  let end = start;
  while (text[end] === " ") {
    const next = wordEnd(text, end + 1);
    if (!text.slice(end + 1, next).includes("\\")) break;
    end = next;
  }
  return end;
}

function wordEnd(text: string, start: number): number {
  let end = start;
  while (end < text.length && !PATH_END.has(text[end] ?? "")) end += 1;
  return end;
}

/** The part of an absolute path that says something on every host. */
function shorten(path: string): string {
  const parts = path.split(/[/\\]+/).filter((part) => part !== "");
  if (parts.length === 0) return path;
  const keep = (from: number): string => parts.slice(from).join("/");
  const custom = parts.indexOf("custom_nodes");
  if (custom >= 0) return keep(custom);
  const library = parts.findLastIndex(
    (part) => part === "site-packages" || part === "dist-packages",
  );
  if (library >= 0) return keep(library);
  const root = parts.findLastIndex(
    (part, index) => index < parts.length - 1 && part.toLowerCase() === "comfyui",
  );
  if (root >= 0) return keep(root + 1);
  const own = parts.findIndex((part, index) => index < parts.length - 1 && KEPT_FROM.has(part));
  if (own >= 0) return keep(own);
  const python = parts.findLastIndex(
    (part, index) => index < parts.length - 1 && part.startsWith("python3."),
  );
  if (python >= 0) return keep(python);
  return parts.at(-1) ?? "";
}

/** Below this nothing is looked at any more. */
const MAX_DEPTH = 32;

/**
 * Strips the text of a whole JSON value, such as a complaint's `extra_info` or an execution error;
 * keys stay. What is nested deeper than 32 levels becomes null.
 */
export function stripHostPathsIn<T>(value: T): T {
  return stripped(value, 0) as T;
}

function stripped(value: unknown, depth: number): unknown {
  if (typeof value === "string") return stripHostPaths(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= MAX_DEPTH) return null;
  if (Array.isArray(value)) return value.map((item: unknown) => stripped(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, stripped(item, depth + 1)]),
  );
}
