/** Keys and list indices from the top of a file down to what is meant. */
export type YamlPath = readonly (string | number)[];

/** Something that is wrong with a file, or unwise in it, before it has a line and a column. */
export interface Finding {
  readonly path: YamlPath;
  /** A sentence for a person: what was expected, what was found, what to do. */
  readonly message: string;
}

/** What a set of rules found. Problems refuse the file, warnings do not. */
export interface Findings {
  readonly problems: readonly Finding[];
  readonly warnings: readonly Finding[];
}

/** All findings of several rules, in their order. */
export function joinFindings(parts: readonly Findings[]): Findings {
  return {
    problems: parts.flatMap((part) => part.problems),
    warnings: parts.flatMap((part) => part.warnings),
  };
}

/** `nodes[2].ref`; a key with other characters than a plain name stands in brackets; empty at the top. */
export function pathText(path: YamlPath): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (!/^[A-Za-z_][A-Za-z0-9_-]*$/.test(part)) text += `[${JSON.stringify(part)}]`;
    else text += text === "" ? part : `.${part}`;
  }
  return text;
}
