/** Tiny wheels, made here: packages that a test can install without any network. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { zipOf } from "./zip.ts";

/** A wheel file. */
export interface Wheel {
  /** As packages are asked for: lower case, with `-`. */
  readonly name: string;
  readonly version: string;
  readonly fileName: string;
  readonly content: Buffer;
  readonly sha256: string;
  /** Its METADATA, which an index serves beside it (PEP 658). */
  readonly metadata: string;
  readonly requiresPython: string | undefined;
}

/** What is in a wheel beside its name and version. */
export interface WheelParts {
  /** Source by file name: `standin_paths.py`, `pack/__init__.py`. */
  readonly modules: Readonly<Record<string, string>>;
  /** As in requirements.txt: `standin-tensor>=2`. */
  readonly requires?: readonly string[];
  readonly requiresPython?: string;
}

/** Makes a wheel of pure Python. */
export function makeWheel(name: string, version: string, parts: WheelParts): Wheel {
  const normal = name.toLowerCase().replaceAll(/[-_.]+/g, "-");
  const stem = `${normal.replaceAll("-", "_")}-${version}`;
  const metadata = [
    "Metadata-Version: 2.1",
    `Name: ${normal}`,
    `Version: ${version}`,
    ...(parts.requiresPython === undefined ? [] : [`Requires-Python: ${parts.requiresPython}`]),
    ...(parts.requires ?? []).map((requirement) => `Requires-Dist: ${requirement}`),
    "",
  ].join("\n");
  const info = `${stem}.dist-info`;
  const files = {
    ...parts.modules,
    [`${info}/METADATA`]: metadata,
    [`${info}/WHEEL`]:
      "Wheel-Version: 1.0\nGenerator: holdfast-test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
  };
  const entries = Object.entries(files).map(([file, text]) => ({
    name: file,
    content: Buffer.from(text, "utf8"),
  }));
  const record = [
    ...entries.map(({ name: file, content }) => {
      const hash = createHash("sha256").update(content).digest("base64url");
      return `${file},sha256=${hash},${content.length}`;
    }),
    `${info}/RECORD,,`,
    "",
  ].join("\n");
  const content = zipOf([...entries, { name: `${info}/RECORD`, content: Buffer.from(record) }]);
  return {
    name: normal,
    version,
    fileName: `${stem}-py3-none-any.whl`,
    content,
    sha256: createHash("sha256").update(content).digest("hex"),
    metadata,
    requiresPython: parts.requiresPython,
  };
}

/** What the stand-in ComfyUI cannot start without. */
export function standInPathsWheel(): Wheel {
  const source = readFileSync(new URL("./wheels/standin_paths.py", import.meta.url), "utf8");
  return makeWheel("standin-paths", "1.0.0", {
    modules: { "standin_paths.py": source },
    requiresPython: ">=3.9",
  });
}

/** Versions 1.0 and 2.0 of a package that two packs cannot agree on. */
export function standInTensorWheels(): readonly Wheel[] {
  return ["1.0.0", "2.0.0"].map((version) =>
    makeWheel("standin-tensor", version, {
      modules: { "standin_tensor.py": `__version__ = "${version}"\n` },
    }),
  );
}
