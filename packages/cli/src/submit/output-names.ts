/** Longest name written, in UTF-16 units; file systems take 255 bytes. */
const MAX_NAME_LENGTH = 120;
/** Names that Windows keeps for devices, with any extension. */
const DEVICE_NAME = /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i;
/** What no file name may hold on one system or another, and control characters. */
// oxlint-disable-next-line no-control-regex
const UNSAFE = /[\u0000-\u001F\u007F<>:"/\\|?*]/g;

/**
 * A plain file name that is safe on every system, from a name that came from outside: folders are
 * dropped, so that nothing is ever written outside the folder that was asked for.
 */
export function safeFileName(name: string): string {
  const last = name.split(/[/\\]/).at(-1) ?? "";
  let safe = last
    .replaceAll(UNSAFE, "_")
    .replace(/^\.+/, "_")
    .replace(/[. ]+$/, "");
  if (safe === "") safe = "output";
  if (DEVICE_NAME.test(safe)) safe = `_${safe}`;
  if (safe.length <= MAX_NAME_LENGTH) return safe;
  const { stem, extension } = splitName(safe);
  return stem.slice(0, MAX_NAME_LENGTH - extension.length) + extension;
}

/** The nth name to try: `a.png`, `a-2.png`, `a-3.png`, … */
export function numberedName(name: string, n: number): string {
  if (n <= 1) return name;
  const { stem, extension } = splitName(name);
  return `${stem}-${n}${extension}`;
}

const MAX_EXTENSION = 12;

function splitName(name: string): { readonly stem: string; readonly extension: string } {
  const dot = name.lastIndexOf(".");
  return dot <= 0 || name.length - dot > MAX_EXTENSION
    ? { stem: name, extension: "" }
    : { stem: name.slice(0, dot), extension: name.slice(dot) };
}

/**
 * A name for each output, all different, also where capitals do not count. In the outputs' order, so
 * that the same job gives the same names each time.
 */
export function planOutputNames(outputs: readonly { readonly name: string }[]): readonly string[] {
  const taken = new Set<string>();
  return outputs.map((output) => {
    const base = safeFileName(output.name);
    let n = 1;
    while (taken.has(numberedName(base, n).toLowerCase())) n += 1;
    const name = numberedName(base, n);
    taken.add(name.toLowerCase());
    return name;
  });
}
