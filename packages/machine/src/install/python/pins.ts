/** Pinned packages: what a resolution comes to, and whether an environment holds it. */

const PIN = /^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;#]+)/;

/** A package's name as all tools compare it (PEP 503). */
export function normalName(name: string): string {
  return name.replaceAll(/[-_.]+/g, "-").toLowerCase();
}

/** Package → version of the lines `name==version`; others (URLs, options, comments) are left out. */
export function parsePins(text: string): ReadonlyMap<string, string> {
  const pins = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, name, version] = PIN.exec(line.trim()) ?? [];
    if (name !== undefined && version !== undefined) pins.set(normalName(name), version);
  }
  return pins;
}

/** Pins as a constraints file. */
export function pinLines(pins: ReadonlyMap<string, string>): string {
  return [...pins].map(([name, version]) => `${name}==${version}\n`).join("");
}

/** A package that is not as it was pinned; `found` is null when it is not there. */
export interface PinBreak {
  readonly name: string;
  readonly wanted: string;
  readonly found: string | null;
}

/** What of an environment is not as pinned. Packages beside the pinned ones do not matter. */
export function brokenPins(
  pins: ReadonlyMap<string, string>,
  installed: Readonly<Record<string, string>>,
): PinBreak[] {
  const byName = new Map(
    Object.entries(installed).map(([name, version]) => [normalName(name), version]),
  );
  return [...pins].flatMap(([name, wanted]) => {
    const found = byName.get(name) ?? null;
    return found !== null && isSameVersion(found, wanted) ? [] : [{ name, wanted, found }];
  });
}

/** `1.0` and `1.0.0` are one version, and so are `1.0+CPU` and `1.0+cpu`. */
const isSameVersion = (a: string, b: string): boolean => plainVersion(a) === plainVersion(b);

function plainVersion(version: string): string {
  return version
    .toLowerCase()
    .replace(/^v/, "")
    .replace(/(?:\.0)+(?=$|\+)/, "");
}

/** A broken pin in words. */
export function describePinBreak({ name, wanted, found }: PinBreak): string {
  return found === null
    ? `${name} ${wanted} is not there`
    : `${name} is ${found} instead of ${wanted}`;
}
